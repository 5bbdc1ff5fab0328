"""plan.json: a versioned format for people and programs to read."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alpha_callbacks._version import __version__
from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.utils.regular_files import reason_of

FORMAT, VERSION = "alpha-callbacks-plan", 1


def plan_text(plan: Plan) -> str:
    """Return a plan as JSON.

    Each layer is an object with the fields of `Choice` and, for the reader, its effective bits.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"alpha-callbacks {__version__}",
        "model": plan.model,
        "policy": plan.policy,
        "settings": dict(plan.settings),
        "average_bits": round(plan.average_bits(), 6),
        "average_bits_all_layers": round(plan.average_bits(budgeted=False), 6),
        "gigabytes": round(plan.nbytes / 1e9, 6),
        "layers": [{**asdict(choice), "effective_bits": round(choice.effective_bits, 6)} for choice in plan.choices],
    }
    return json.dumps(content, indent=1) + "\n"


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan as JSON."""
    write_text(Path(path), plan_text(plan))


def read_plan(path: str | Path) -> Plan:
    """Read a plan that `write_plan` wrote, or that was edited since.

    Raises:
        PlanError: not a plan, of a later version, or with a layer that is incomplete.
    """
    try:
        content = read_json(Path(path))
    except (ValueError, OSError) as error:
        raise PlanError(f"{path}: expected a plan as JSON, got {reason_of(error)}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PlanError(f'{path}: expected "format": "{FORMAT}". Make a plan with `alpha-hill recommend`.')
    if content.get("version") != VERSION:
        raise PlanError(f"{path}: expected version {VERSION}, got {content.get('version')!r}. Update alpha-callbacks.")
    try:
        choices = tuple(_choice(entry) for entry in content["layers"])
        return Plan(choices, str(content["policy"]), dict(content["settings"]), str(content["model"]))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # OptionError is a ValueError
        raise PlanError(f"{path}: expected layers as `alpha-hill recommend` writes them, got {error}.") from error


def _choice(entry: dict[str, Any]) -> Choice:
    choice = Choice(**{name: value for name, value in entry.items() if name != "effective_bits"})
    texts = choice.layer_name, choice.category, choice.reason, choice.tied_to
    if not all(isinstance(text, str) for text in texts) or not isinstance(choice.budgeted, bool):
        raise TypeError(f"{choice.layer_name!r} with a name, category, reason or mark of another kind")
    if not all(type(size) is int and size >= 0 for size in (choice.out_features, choice.in_features)):
        raise TypeError(f"{choice.layer_name} with {choice.out_features!r} x {choice.in_features!r} weights")
    return choice
