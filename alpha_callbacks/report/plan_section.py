"""The plans of a results folder as the first section of its report: a map, sizes, the curve, what was measured."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_curve import CurvePoint
from alpha_callbacks.planning.plan_curve_files import PlanScore, plan_files, read_curve, read_scores, scores_of
from alpha_callbacks.planning.plan_sentences import sentences_of, sized
from alpha_callbacks.planning.recommendation_files import plan_of
from alpha_callbacks.report.packing import coded
from alpha_callbacks.report.page_shell import Section, Tile, fill
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import POLICY_COLORS, in_order


@dataclass(frozen=True)
class _View:
    """One plan as the template shows it.

    Attributes:
        name: of its file.
        label: of its button.
        tiles: key numbers.
        sentences: its options.
        formats: in order of bits.
        rows: (category, number of layers in each format, bits per weight, mean relative error or "").
        absent: number of its layers that the results do not have.
    """

    name: str
    label: str
    tiles: list[Tile]
    sentences: list[str]
    formats: list[str]
    rows: list[tuple[str, list[int], float, str]]
    absent: int


def plan_section(folder: Path, table: Table) -> Section | None:
    """Return the section; None where there is no plan.

    Raises:
        ResultsError: one of the files is damaged.
    """
    plans = {name: plan_of(path) for name, path in plan_files(folder).items()}
    if not plans:
        return None
    points, scores = read_curve(folder), read_scores(folder)
    current = scores_of(plans, scores)
    views = [_view(name, plan, table, current) for name, plan in plans.items()]
    data = {
        "plans": [
            {"name": name, "bits": _known(plan.average_bits()), "format": _formats(plan, table)}
            for name, plan in plans.items()
        ],
        "formats": _all_formats(plans),
        "curve": _curve(points),
        "scores": [[s.name, s.average_bits, s.kl, _known(s.kl_sem)] for s in current if s.kl > 0],
        "colors": POLICY_COLORS,
    }
    html = fill("plan.html", views=views, stale=len(scores) - len(current), tokens=current[0].tokens if current else 0,
                text=current[0].text if current else "", curve=bool(points))  # fmt: skip
    return Section("plan", "Plan", Markup(html), data=data)


def _view(name: str, plan: Plan, table: Table, scores: tuple[PlanScore, ...]) -> _View:
    errors = {row.layer_name: {r.precision: r.relative_error for r in layer.rows if r.ok} for layer in table.layers
              for row in layer.rows[:1]}  # fmt: skip
    formats = _all_formats({name: plan})
    rows = []
    for category in in_order(choice.category for choice in plan.choices):
        inside = [choice for choice in plan.choices if choice.category == category]
        counts = Counter(choice.precision for choice in inside)
        bits = sum(c.numel * c.effective_bits for c in inside) / max(1, sum(c.numel for c in inside))
        found = [errors.get(c.layer_name, {}).get(c.precision, math.nan if c.low_bit else 0.0) for c in inside]
        mean = sum(found) / len(found)
        rows.append((category, [counts[each] for each in formats], bits, "" if math.isnan(mean) else f"{mean:.2%}"))
    absent = sum(choice.layer_name not in errors for choice in plan.choices)
    label = name.removeprefix("plan_") + " bits" if name != "plan" else "plan.json"
    return _View(
        name, label, _tiles(name, plan, scores), sentences_of(plan.policy, plan.settings), formats, rows, absent
    )


def _tiles(name: str, plan: Plan, scores: tuple[PlanScore, ...]) -> list[Tile]:
    before = 2 * plan.numel
    decided = [choice for choice in plan.choices if choice.budgeted]
    but = f" but {visible(', '.join(plan.uncounted))} and what shares it" if plan.uncounted else ""
    tiles = [
        Tile(
            f"{sized(before)} → {sized(plan.nbytes)}",
            f"all matrices{but}, at 16 bits and planned ({plan.nbytes / before:.0%})",
        ),
        Tile(f"{plan.average_bits():.3f} bits", f"per weight, over the {len(decided)} matrices that are decided about"),
        Tile(f"{plan.average_bits(budgeted=False):.3f} bits", f"per weight, over all {len(plan.choices)} matrices"),
    ]
    score = next((score for score in scores if score.name == name), None)
    if score is not None:
        error = "" if math.isnan(score.kl_sem) else f", ± {score.kl_sem:.4f}"
        tiles.append(Tile(f"KL {score.kl:.4f}", f"nats per token{error}; 99 % of tokens below {score.kl_q99:.3g}"))
        tiles.append(Tile(f"{score.top1:.1%}", "of tokens keep their most likely successor"))
    return tiles


def _formats(plan: Plan, table: Table) -> dict[str, Any]:
    """Return the format of each layer of the table, "" where the plan does not name it."""
    chosen = {choice.layer_name: choice.precision for choice in plan.choices}
    return coded(chosen.get(layer.first.layer_name, "") for layer in table.layers)


def _all_formats(plans: Mapping[str, Plan]) -> list[str]:
    """Return the formats of plans, from few bits to many."""
    bits: dict[str, float] = {}
    for plan in plans.values():
        for choice in plan.choices:
            bits[choice.precision] = min(choice.effective_bits, bits.get(choice.precision, math.inf))
    return sorted(bits, key=lambda name: (bits[name], name))


def _curve(points: tuple[CurvePoint, ...]) -> list[list[Any]]:
    return [[p.policy, p.average_bits, p.nbytes, _known(p.error), p.mark] for p in points]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
