"""A plan in the words of a quantizer. Exporters are found by the entry point `alpha_callbacks.exporters`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_json import plan_text


@dataclass(frozen=True)
class Export:
    """A plan as a quantizer reads it.

    Attributes:
        text: content of the file.
        suffix: of the file, with the dot.
        notes: where the quantizer will do otherwise than was measured, a sentence each.
    """

    text: str
    suffix: str
    notes: tuple[str, ...] = ()


Exporter = Callable[[Plan], Export]


def exporters() -> dict[str, Exporter]:
    """Return name -> exporter, our own plan first."""
    found = {point.name: point.load() for point in entry_points(group="alpha_callbacks.exporters")}
    return {"plan": lambda plan: Export(plan_text(plan), ".json"), **dict(sorted(found.items()))}


def export_plan(plan: Plan, target: str) -> Export:
    """Return a plan in the words of a quantizer.

    Raises:
        PlanError: unknown target, or one that cannot hold a choice; nothing is ever rounded to what it can hold.
    """
    known = exporters()
    if target not in known:
        raise PlanError(f"format: expected one of {', '.join(known)}, got {target!r}.")
    return known[target](plan)


def refuse(target: str, choices: list[Choice], can_hold: str) -> None:
    """Raise if there are choices that a target cannot hold.

    Args:
        target: name of the format.
        choices: those that it cannot hold.
        can_hold: what it can, for the message.

    Raises:
        PlanError: there are some; names them and what to do.
    """
    if choices:
        names = ", ".join(sorted({choice.precision for choice in choices}))
        raise PlanError(
            f"{target}: cannot hold {names} ({len(choices)} layers, e.g. {choices[0].layer_name}). It holds "
            f"{can_hold}. Recommend again with --candidates that it holds, or export to another format."
        )
