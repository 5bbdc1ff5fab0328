"""What most exporters do first: sort the modules of a plan, refuse what the target lacks, describe the others."""

from collections.abc import Callable
from typing import Any

from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.plan_modules import (
    Modules,
    encoding_of,
    refuse_ragged,
    refuse_unheld,
    require_modules,
    split_modules,
)


def module_entries(
    plan: Plan, target: str, entry: Callable[[Encoding], dict[str, Any] | None], can_hold: str
) -> tuple[Modules, dict[str, dict[str, Any]]]:
    """Return the modules of a plan, and module path -> what the target's file says of its format.

    Args:
        plan: as a scan of files gives it.
        target: name of the format, for messages.
        entry: returns what the file says, None for a format that the target lacks.
        can_hold: the formats that it has, for the message.

    Raises:
        PlanError: a layer has another format, or rows that do not divide into its blocks.
    """
    modules = split_modules(plan, target)
    require_modules(target, modules)
    refuse_unheld(target, modules.low, lambda encoding: entry(encoding) is not None, can_hold)
    refuse_ragged(target, modules.low)
    return modules, {name: entry(encoding_of(choice, target)) or {} for name, choice in modules.low.items()}
