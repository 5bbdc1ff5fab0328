"""`alpha-hill quantize`: a checkpoint and a plan -> a quantized checkpoint."""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say

if TYPE_CHECKING:  # --help must not wait for torch
    from alpha_callbacks.planning.plan import Plan

_ROUNDING = "Rounding"


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            parser=parsers.model,
            help="A checkpoint folder or a model id; for --format gguf a .gguf file. It is never modified.",
        ),
    ],
    plan: shared.PlanOption,
    output_dir: shared.OutputDir = None,
    target: Annotated[
        str,
        typer.Option(
            "--format",
            parser=parsers.writer_format,
            metavar="NAME",
            help="Format of the checkpoint: compressed-tensors, torchao or gguf.",
            rich_help_panel=shared.OUTPUT,
        ),
    ] = "compressed-tensors",
    rounding: Annotated[
        Literal["nearest", "gptq", "imatrix"],
        typer.Option(
            "--rounding",
            parser=parsers.one_of("nearest", "gptq", "imatrix"),
            metavar="NAME",
            help="nearest; gptq (compressed-tensors, torchao: symmetric integers, the error of a column is made up for "
            "in the next ones); imatrix (gguf: columns count by their inputs, as llama.cpp does it).",
            rich_help_panel=_ROUNDING,
        ),
    ] = "nearest",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="Text for --rounding gptq or imatrix: of all kinds that the model will see, and not the one that you "
            "evaluate on.",
            rich_help_panel=_ROUNDING,
        ),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens",
            parser=parsers.whole(at_least=3),
            metavar="N",
            help="How many tokens of that text; GPTQ wants 8 times as many as the widest layer has columns, or more.",
            rich_help_panel=_ROUNDING,
        ),
    ] = 4096,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar=shared.FLAG, help="Only say what would be done.", rich_help_panel=shared.OUTPUT
        ),
    ] = False,
    save_plan: Annotated[
        Path | None,
        typer.Option(
            "--save-plan",
            parser=parsers.output_file,
            metavar="FILE",
            help="Write the plan with exact layer names to this file.",
            rich_help_panel=shared.OUTPUT,
        ),
    ] = None,
    log_level: shared.LogLevel = "info",
) -> None:
    """Write a quantized checkpoint according to a plan, by rounding to nearest or as --rounding says.

    It goes to --output-dir, a new folder; there is no default. Checkpoints in the formats compressed-tensors and
    torchao load with plain AutoModelForCausalLM.from_pretrained.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo --avg-bits 5
        alpha-hill quantize tiny_llama --plan demo/plan.json --dry-run
        alpha-hill quantize tiny_llama --plan demo/plan.json -o quantized
    """
    shared.start_logging(log_level)
    from alpha_callbacks.checkpoints.locate import locate
    from alpha_callbacks.cli.plan_files import check_target, plan_for, print_notes
    from alpha_callbacks.cli.print_plan import print_plan
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.planning.plan_checks import check_plan
    from alpha_callbacks.planning.plan_json import write_plan
    from alpha_callbacks.planning.write_model import Rounding, write_model

    if output_dir is None and not dry_run:
        raise OptionError("output_dir: expected a folder for the checkpoint, got none. Give --output-dir or --dry-run.")
    if (rounding == "nearest") != (calibration is None):
        raise OptionError(
            f"calibration: expected a text file with --rounding gptq or imatrix and with no other, got "
            f"{'none' if calibration is None else calibration} with {rounding}."
        )
    way = None if rounding == "nearest" or calibration is None else Rounding(rounding, calibration, tokens)
    wanted = plan_for(model, plan)
    if not dry_run:
        check_target(wanted, target)
    path = locate(model)
    check_plan(wanted, path)
    print_plan(wanted)
    if save_plan is not None:
        write_plan(wanted, save_plan)
        say(f"Plan written to {save_plan}")
    if dry_run or output_dir is None:
        untried = (
            f"a dry run does not try --rounding: neither whether {target} has {rounding}, nor what the text holds."
        )
        print_notes((*_foreseen(replace(wanted, model=str(path)), target), *([untried] if way else [])))
        return
    print_notes(write_model(path, wanted, output_dir, target, rounding=way))
    say(f"Checkpoint written to {output_dir}")
    source, written = quote(parsers.typed_model(model)), quote(str(output_dir))
    say(f"How far it is from its source: alpha-hill evaluate {source} --against {written} --text heldout.txt")


def _foreseen(plan: "Plan", target: str) -> tuple[str, ...]:
    """Return what a target will say of a plan: its notes, or that it cannot represent the plan."""
    from alpha_callbacks.errors import PlanError
    from alpha_callbacks.planning.export_plan import export_plan

    try:
        export = export_plan(plan, target)
        return (*((str(export.coverage),) if export.coverage else ()), *export.notes)
    except PlanError as error:
        return (f"it would be refused: {error}",)
