"""A recommendation on disk: plan.json, and recommendations.csv with the figures behind each choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import PlanError, ResultsError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_json import read_plan, write_plan
from alpha_callbacks.planning.recommendation import Recommendation
from alpha_callbacks.tables.checked_files import read_csv_lines
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.results_csv import cell
from alpha_callbacks.utils.atomic_files import make_folder, write_text

PLAN = "plan.json"
RECOMMENDATIONS = "recommendations.csv"

_COLUMNS = (
    "layer_name", "category", "out_features", "in_features", "alpha", "alpha_ratio", "precision", "effective_bits",
    "drift", "relative_error", "budgeted", "reason",
)  # fmt: skip


_REQUIRED = ("layer_name", "precision", "reason", "out_features", "in_features")
_REMEDY = "Run `alpha-hill recommend` again, or remove the file to go on without it."


@dataclass(frozen=True)
class WrittenRecommendation:
    """A recommendation as it lies in a results folder.

    Attributes:
        policy: what decided; "" where plan.json is absent.
        settings: its options; empty where plan.json is absent.
        lines: rows of recommendations.csv.
    """

    policy: str
    settings: Mapping[str, Any]
    lines: Sequence[Mapping[str, str]]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return precision -> (layers, weights)."""
        counts: dict[str, tuple[int, int]] = {}
        for line in self.lines:
            layers, weights = counts.get(line["precision"], (0, 0))
            size = int(line["out_features"]) * int(line["in_features"])
            counts[line["precision"]] = (layers + 1, weights + size)
        return counts


def read_recommendation(folder: Path) -> WrittenRecommendation | None:
    """Return the recommendation in a results folder; None where recommendations.csv is absent.

    Raises:
        ResultsError: recommendations.csv or plan.json is damaged.
    """
    path = folder / RECOMMENDATIONS
    lines = read_csv_lines(path, required=_REQUIRED, remedy=_REMEDY)
    if lines is None:
        return None
    if odd := [line for line in lines if not (line["out_features"].isdecimal() and line["in_features"].isdecimal())]:
        raise ResultsError(f"{path}: expected the shape of {odd[0]['layer_name']} as numbers, got others. {_REMEDY}")
    plan = plan_of(folder / PLAN) if (folder / PLAN).exists() else None
    return WrittenRecommendation(plan.policy if plan else "", plan.settings if plan else {}, lines)


def plan_of(path: Path) -> Plan:
    """Return a plan of a results folder.

    Raises:
        ResultsError: it is damaged.
    """
    try:
        return read_plan(path)
    except PlanError as error:
        raise ResultsError(f"{error} {_REMEDY}") from error


def write_recommendation(found: Recommendation, folder: Path, *, name: str = "") -> None:
    """Write plan.json and recommendations.csv; with a name, plan_<name>.json and recommendations_<name>.csv.

    Raises:
        OptionError: the folder cannot be made.
    """
    make_folder(folder)
    plan, table = (with_name(file, name) for file in (PLAN, RECOMMENDATIONS))
    write_plan(found.plan, folder / plan)
    write_text(folder / table, recommendations_text(found))


def with_name(file: str, name: str) -> str:
    """Return the name of a file that belongs to one of several plans.

    Examples:
        >>> with_name("plan.json", "4.5"), with_name("plan.json", "")
        ('plan_4.5.json', 'plan.json')
    """
    stem, suffix = file.rsplit(".", 1)
    return f"{stem}_{name}.{suffix}" if name else file


def recommendations_text(found: Recommendation) -> str:
    """Return one row per layer: figures, choice, reason, and the choice of every other policy."""
    policies = [alternative.policy for alternative in found.alternatives]
    lines: list[list[object]] = [[*_COLUMNS, *(f"choice_{policy}" for policy in policies)]]
    for advice in found.layers:
        choice = advice.choice
        lines.append(
            [
                choice.layer_name, choice.category, choice.out_features, choice.in_features, cell(advice.alpha, 12),
                cell(advice.alpha_ratio, 12), choice.precision, cell(choice.effective_bits, 8), cell(advice.drift, 4),
                cell(advice.relative_error, 5), choice.budgeted, choice.reason,
                *(advice.others.get(policy, "") for policy in policies),
            ]
        )  # fmt: skip
    return csv_text(lines)
