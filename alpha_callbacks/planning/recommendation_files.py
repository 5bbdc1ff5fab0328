"""A recommendation on disk: plan.json, and recommendations.csv with what speaks for each choice."""

from pathlib import Path

from alpha_callbacks.planning.plan_json import write_plan
from alpha_callbacks.planning.recommendation import Recommendation
from alpha_callbacks.tables.results_csv import cell, csv_text
from alpha_callbacks.utils.atomic_files import make_folder, write_text

PLAN = "plan.json"
RECOMMENDATIONS = "recommendations.csv"

_COLUMNS = (
    "layer_name", "category", "out_features", "in_features", "alpha", "alpha_ratio", "precision", "effective_bits",
    "drift", "relative_error", "budgeted", "reason",
)  # fmt: skip


def write_recommendation(found: Recommendation, folder: Path) -> None:
    """Write plan.json and recommendations.csv.

    Raises:
        OptionError: the folder cannot be made.
    """
    make_folder(folder)
    write_plan(found.plan, folder / PLAN)
    write_text(folder / RECOMMENDATIONS, recommendations_text(found))


def recommendations_text(found: Recommendation) -> str:
    """Return one row per layer: figures, choice, reason, and what each policy would have chosen."""
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
