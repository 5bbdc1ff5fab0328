"""`alpha-hill export`: a plan -> the config of a quantizer."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say
from alpha_callbacks.errors import PlanError


def export(
    plan: Annotated[Path, typer.Argument(help="plan.json of `alpha-hill recommend`.", metavar="PLAN")],
    target: Annotated[
        str,
        typer.Option(
            "--format",
            parser=parsers.export_format,
            metavar="NAME",
            help=parsers.EXPORT_FORMATS,
            rich_help_panel=shared.OUTPUT,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=parsers.output_file,
            metavar="FILE",
            help="File to write.",
            rich_help_panel=shared.OUTPUT,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            parser=parsers.model,
            metavar="MODEL",
            help="The model, whose modules give the names. \\[default: the one that was scanned, if it is on disk]",
            show_default=False,
        ),
    ] = None,
    log_level: shared.LogLevel = "info",
) -> None:
    """Export a plan as a quantizer's config. What the quantizer cannot represent is refused, never rounded.

    Names are those that transformers gives the modules of the model; how much of it the quantizer will really quantize
    is printed.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo --avg-bits 5
        alpha-hill export demo/plan.json --format torchao -o torchao.json
    """
    shared.start_logging(log_level)
    from alpha_callbacks.cli.plan_files import write_export
    from alpha_callbacks.planning.plan_json import read_plan

    wanted = read_plan(plan)
    try:
        write_export(replace(wanted, model=model) if model else wanted, target, output)
    except PlanError as error:
        raise PlanError(f"{plan}: {error}") from error
    say(f"Written to {output}")
