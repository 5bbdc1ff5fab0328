"""A plan as the config of a quantizer. Exporters are plugins of the group `exporters`."""

from dataclasses import dataclass
from typing import Protocol

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_json import plan_text
from alpha_callbacks.utils import plugins

_OWN = "plan"  # our own format, which needs no plugin


@dataclass(frozen=True)
class Coverage:
    """How much of a model a quantizer will really quantize.

    Attributes:
        consumer: who reads the export.
        reached: number of weights that it will quantize.
        planned: number that the plan puts below 16 bits.
        total: number in the plan.
        why: one clause on those that it leaves, "" if there are none.
    """

    consumer: str
    reached: int
    planned: int
    total: int
    why: str = ""

    def __str__(self) -> str:
        """Say it in one sentence."""
        share = f"{self.consumer} quantizes {self.reached / max(self.total, 1):.1%} of the weights"
        if self.reached == self.planned:
            return f"{share}, all that the plan puts below 16 bits."
        return f"{share}, where the plan puts {self.planned / max(self.total, 1):.1%} below 16 bits: {self.why}."


@dataclass(frozen=True)
class Export:
    """A plan as a quantizer reads it.

    Attributes:
        text: content of the file.
        suffix: of the file, with the dot.
        notes: where the quantizer's result will differ from what was measured, one sentence each.
        coverage: how much of the model it will quantize; None where the model could not be looked at.
    """

    text: str
    suffix: str
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None


class Exporter(Protocol):
    """What a plugin of the group `exporters` is: a function of a plan."""

    def __call__(self, plan: Plan, /) -> Export:
        """Return the config; raise PlanError for a choice that it cannot express, see `refuse`."""


def targets() -> list[str]:
    """Return the names that `export_plan` knows, our own format first; imports no exporter."""
    return [_OWN, *plugins.names("exporters")]


def export_plan(plan: Plan, target: str) -> Export:
    """Return a plan as the config of a quantizer.

    Raises:
        PlanError: an unknown target, one that cannot be imported, one that cannot express a choice (none is ever
            rounded to one that it can express), or one that would quantize nothing of what is planned below 16 bits.
    """
    if target == _OWN:
        return Export(plan_text(plan), ".json")
    if target not in plugins.names("exporters"):
        raise PlanError(f"format: expected one of {', '.join(targets())}, got {target!r}.")
    exporter: Exporter = plugins.load("exporters", target, error=PlanError)
    export = exporter(plan)
    covered = export.coverage
    if covered is not None and covered.planned and not covered.reached:
        raise PlanError(f"{target}: expected a plan of which something is quantized. {covered}")
    return export


def refuse(target: str, choices: list[Choice], can_hold: str) -> None:
    """Raise if there are choices that a target cannot hold.

    Args:
        target: name of the format.
        choices: the choices that it cannot hold.
        can_hold: what it can hold, for the message.

    Raises:
        PlanError: there are such choices; the message names them and says what to do.
    """
    if choices:
        names = ", ".join(sorted({choice.precision for choice in choices}))
        raise PlanError(
            f"{target}: cannot hold {names} ({len(choices)} layers, e.g. {choices[0].layer_name}). It holds "
            f"{can_hold}. Recommend again with --candidates that it holds, or export to another format."
        )
