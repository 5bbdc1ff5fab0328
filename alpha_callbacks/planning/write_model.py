"""A quantized checkpoint, written as a plan says. Writers are plugins of the group `writers`."""

from pathlib import Path
from typing import Protocol

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.utils import plugins


class Writer(Protocol):
    """What a plugin of the group `writers` is: a function that writes a checkpoint."""

    def __call__(self, model: Path, plan: Plan, output_dir: Path, /) -> tuple[str, ...]:
        """Write the checkpoint and return notes, see `write_model`."""


def write_model(model: str | Path, plan: Plan, output_dir: str | Path, target: str) -> tuple[str, ...]:
    """Write a quantized checkpoint; it appears whole or not at all.

    Args:
        model: checkpoint folder or .gguf file, never changed.
        plan: the precision of each layer.
        output_dir: a new or empty folder.
        target: name of the writer.

    Returns:
        Where the checkpoint differs from what was measured, one sentence each.

    Raises:
        PlanError: an unknown target, one that cannot be imported, one that cannot hold a choice, a plan of another
            model, or a folder that is not empty.
        MissingExtraError: the target needs an optional package.
    """
    known = plugins.names("writers")
    if target not in known:
        raise PlanError(f"target: expected one of {', '.join(known)}, got {target!r}.")
    writer: Writer = plugins.load("writers", target, error=PlanError)
    return writer(Path(model), plan, Path(output_dir))
