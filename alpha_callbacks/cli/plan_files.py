"""Files that the commands about plans read and write."""

from collections.abc import Sequence
from pathlib import Path

import typer

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.export_plan import export_plan
from alpha_callbacks.planning.layer_config import expand, layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_json import read_plan
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.utils.regular_files import reason_of


def plan_for(model: Path, file: Path) -> Plan:
    """Read a plan, or a layer config, which is expanded against the layers of the model.

    Raises:
        PlanError: the file is neither.
    """
    try:
        content = read_json(file)
    except (ValueError, OSError) as error:
        raise PlanError(f"{file}: expected a plan or a layer config as JSON, got {reason_of(error)}.") from error
    if isinstance(content, dict) and "format" not in content and {"default", "overrides"} & content.keys():
        layers = layers_of(open_checkpoint(model).inventory(AnalysisOptions()).weights)
        try:
            return expand(content, layers)
        except PlanError as error:
            raise PlanError(f"{file}: {error}") from error
    return read_plan(file)


def write_export(plan: Plan, target: str, file: Path) -> None:
    """Write a plan as the config of a quantizer, and print the exporter's notes."""
    export = export_plan(plan, target)
    write_text(file, export.text)
    print_notes(export.notes)


def print_notes(notes: Sequence[str]) -> None:
    """Print sentences on how a quantizer differs from what was measured."""
    for note in notes:
        typer.secho(f"note: {note}", fg=typer.colors.YELLOW, err=True)
