"""`alpha-hill report`: the output folder of a scan -> report.html."""

from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say


def report(
    directory: Annotated[Path, typer.Argument(help="Output folder of a scan.", metavar="DIR")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=parsers.output_file,
            metavar="FILE",
            help="File to write. \\[default: DIR/report.html]",
            rich_help_panel=shared.OUTPUT,
            show_default=False,
        ),
    ] = None,
    open_page: shared.OpenPage = False,
    log_level: shared.LogLevel = "info",
) -> None:
    """Write the report of a scan again: one HTML file that opens offline and holds everything that the scan found.

    `alpha-hill scan` writes it too. Write it again after `alpha-hill recommend`, so that it shows the plan.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo --avg-bits 5
        alpha-hill report demo
    """
    shared.start_logging(log_level)
    from alpha_callbacks.cli.show_page import show_page
    from alpha_callbacks.report.scan_page import write_report

    page = write_report(directory, output=output)
    say(f"Written to {page}")
    show_page(page, open_page=open_page)
