"""A model as its plan says, on disk. Writers are found by the entry point `alpha_callbacks.writers`."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Plan

Writer = Callable[[Path, Plan, Path], tuple[str, ...]]


def writers() -> dict[str, Writer]:
    """Return name -> writer."""
    return dict(sorted((point.name, point.load()) for point in entry_points(group="alpha_callbacks.writers")))


def write_model(model: Path, plan: Plan, output_dir: Path, target: str) -> tuple[str, ...]:
    """Write a quantized checkpoint; it appears whole or not at all.

    Args:
        model: checkpoint folder or .gguf file, never changed.
        plan: what becomes of each layer.
        output_dir: a new or empty folder.
        target: name of the writer.

    Returns:
        Where the checkpoint differs from what was measured, a sentence each.

    Raises:
        PlanError: unknown target, one that cannot hold a choice, a plan of another model, or a folder not empty.
        MissingExtraError: the target needs an optional package.
    """
    known = writers()
    if target not in known:
        raise PlanError(f"target: expected one of {', '.join(known)}, got {target!r}.")
    return known[target](model, plan, output_dir)
