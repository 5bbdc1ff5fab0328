"""The command that makes the report of a scan anew."""

from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli.shared_options import LogLevel, set_log_level


def report(
    directory: Annotated[Path, typer.Argument(help="Output folder of a scan.", metavar="DIR")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. \\[default: DIR/report.html]", show_default=False),
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Make the report of a scan: one HTML file that opens offline, with everything that the scan found.

    `scan` makes it by itself. Make it again after `recommend`, to have its choices in it.
    """
    set_log_level(log_level)
    from alpha_callbacks.report.scan_page import write_report

    typer.echo(f"Written to {write_report(directory, output=output)}")
