"""A quantized checkpoint, written as a plan says. Writers are plugins of the group `writers`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from alpha_callbacks.errors import OptionError, PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.utils import plugins

Method = Literal["gptq", "imatrix"]


@dataclass(frozen=True)
class Rounding:
    """Another way to round than to nearest, by what the layers take in on a text.

    Attributes:
        method: "gptq" (errors of a column are made up for in the next ones) or "imatrix" (llama.cpp's: weights count by
            the mean squares of their inputs).
        calibration: the text, UTF-8.
        tokens: how many of it.

    Raises:
        OptionError: fewer than 2 tokens.
        PlanError: there is no such text; what it holds is seen once the model is loaded.
    """

    method: Method
    calibration: Path
    tokens: int = 4096

    def __post_init__(self) -> None:
        """Check the number, and that there is a text: before a model is fetched or loaded."""
        if self.tokens < 2:
            raise OptionError(f"tokens: expected at least 2, got {self.tokens}.")
        if not Path(self.calibration).exists():  # a pipe will do
            raise PlanError(f"{self.calibration}: expected a text file, found nothing there.")


class Writer(Protocol):
    """What a plugin of the group `writers` is: a function that writes a checkpoint.

    One that can do more than round to nearest has a further argument `rounding: Rounding | None = None`.
    """

    def __call__(self, model: Path, plan: Plan, output_dir: Path, /) -> tuple[str, ...]:
        """Write the checkpoint and return notes, see `write_model`."""


def write_model(
    model: str | Path, plan: Plan, output_dir: str | Path, target: str, *, rounding: Rounding | None = None
) -> tuple[str, ...]:
    """Write a quantized checkpoint; it appears whole or not at all.

    Args:
        model: checkpoint folder or .gguf file, never changed.
        plan: the precision of each layer.
        output_dir: a new or empty folder.
        target: name of the writer.
        rounding: how; None: to nearest, without a text.

    Returns:
        Where the checkpoint differs from what was measured, one sentence each.

    Raises:
        PlanError: an unknown target, one that cannot be imported, one that cannot hold a choice, a plan of another
            model, a rounding that it does not have, or a folder that is not empty.
        MissingExtraError: the target needs an optional package.
    """
    known = plugins.names("writers")
    if target not in known:
        raise PlanError(f"target: expected one of {', '.join(known)}, got {target!r}.")
    writer: Writer = plugins.load("writers", target, error=PlanError)
    if rounding is None:
        return writer(Path(model), plan, Path(output_dir))
    rounds: Callable[..., tuple[str, ...]] = writer
    if "rounding" not in inspect.signature(writer).parameters:
        raise refused(target, rounding)
    return rounds(Path(model), plan, Path(output_dir), rounding=rounding)


def refused(target: str, rounding: Rounding, has: str = "rounds to nearest only") -> PlanError:
    """Return what a writer raises for a way of rounding that it does not have."""
    return PlanError(f"{target}: expected another --rounding than {rounding.method}: it {has}.")
