"""Files that the commands about plans read and write."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from alpha_callbacks.cli.terminal import say
from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import export_plan, targets
from alpha_callbacks.planning.layer_config import expand, layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_json import read_plan
from alpha_callbacks.planning.takers import held_formats, say_formats
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.utils.regular_files import reason_of


def plan_for(model: str, file: Path) -> Plan:
    """Read a plan, or a layer config, which is expanded against the layers of the model.

    Args:
        model: path or model id, located only for a layer config: a file that is no plan is told before a download.
        file: the plan.

    Raises:
        PlanError: the file is neither.
    """
    try:
        content = read_json(file)
    except (ValueError, OSError) as error:
        raise PlanError(f"{file}: expected a plan or a layer config as JSON, got {reason_of(error)}.") from error
    if isinstance(content, dict) and "format" not in content and {"default", "overrides"} & content.keys():
        from alpha_callbacks.checkpoints.locate import locate
        from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
        from alpha_callbacks.options import AnalysisOptions

        layers = layers_of(open_checkpoint(locate(model)).inventory(AnalysisOptions()).weights)
        try:
            return expand(content, layers)
        except PlanError as error:
            raise PlanError(f"{file}: {error}") from error
    return read_plan(file)


def candidates_for(target: str, table: Table) -> tuple[str, ...] | None:
    """Return the formats of a scan that a target can store, and say so if it cannot store all; None if it can.

    Raises:
        PlanError: it can store none.
    """
    low = [name for name in table.precisions if get_precision(name).low_bit]
    gguf = any(layer.first.layer_name.startswith("blk.") for layer in table.layers)
    held = held_formats(low, gguf=gguf).get(target, ())
    if target == targets()[0] or len(held) == len(low):
        return None
    if not held:
        raise PlanError(
            f"{target}: expected a format that it can store, got {', '.join(low)}. {say_formats(low, gguf=gguf)[0]}"
        )
    say(f"Candidates are the formats of the scan that {target} can store: {', '.join(held)}.")
    return held


def check_target(plan: Plan, target: str) -> None:
    """Refuse what a target cannot hold before a model is fetched or loaded.

    Raises:
        PlanError: it cannot hold a choice.
    """
    if target in targets():
        export_plan(replace(plan, model=""), target)


def write_export(plan: Plan, target: str, file: Path) -> None:
    """Write a plan as the config of a quantizer, and print how much of the model it covers, and notes."""
    export = export_plan(plan, target)
    write_text(file, export.text)
    if export.coverage is not None:
        whole = export.coverage.reached == export.coverage.planned
        typer.secho(f"Coverage: {export.coverage}", fg=None if whole else typer.colors.YELLOW)
    print_notes(export.notes)


def print_notes(notes: Sequence[str]) -> None:
    """Print sentences on how a quantizer differs from what was measured."""
    for note in notes:
        say(f"note: {note}", color=typer.colors.YELLOW, err=True)
