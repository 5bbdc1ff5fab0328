"""Size against error of plans: the best of each policy at every budget, and what was measured of some."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from alpha_callbacks.planning.plan_curve import KNEE, SIZES, UNIFORM, CurvePoint
from alpha_callbacks.planning.plan_curve_files import PICTURE, PlanScore, plan_files, read_curve, read_scores, scores_of
from alpha_callbacks.planning.plan_json import read_plan
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, save, styled
from alpha_callbacks.plots.elements.figure_text import fit
from alpha_callbacks.plots.elements.legend import say
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, POLICY_COLORS

_WIDTH, _DPI, _SIZE = 5.6, 130, 11.0  # letters of 10 pixels where a card shows it 350 pixels wide
_PANEL, _LEFT, _RIGHT, _BOTTOM, _GAP, _HEADING = 2.35, 0.85, 0.15, 0.55, 0.42, 0.42
_LEGEND = 0.24  # height of a row
_BEYOND = 1.05  # what lies beyond the finest format is the way to 16 bits, where errors vanish
_APART = 1.08  # factor of bits between two labels


@styled
def plot_plan_curve(
    points: Sequence[CurvePoint], *, chosen: Sequence[tuple[str, float]] = (), scores: Sequence[PlanScore] = ()
) -> tuple[Figure, Sequence[Axes]]:
    """Draw predicted error, and below it the measured divergence where there is one, against bits per weight.

    Args:
        points: of `plan_curve`.
        chosen: (name, average bits) of the plans in the folder, marked on the axis of bits.
        scores: of `evaluate`.

    Returns:
        The figure and its axes: predicted error, KL if there are scores.
    """
    most = max([p.average_bits for p in points if p.policy == UNIFORM] + [b for _, b in chosen], default=math.inf)
    known = [point for point in points if point.error > 0 and point.average_bits <= most * _BEYOND]
    policies = list(dict.fromkeys(point.policy for point in known))
    handles = [_handle(name) for name in policies]
    rows = -(-len(handles) // 3)
    height = _HEADING + rows * _LEGEND + _PANEL + (_GAP + _PANEL if scores else 0) + _BOTTOM
    figure = new_figure(_WIDTH, height, dpi=_DPI)
    inner = _WIDTH - _LEFT - _RIGHT
    below = add_axes(figure, _LEFT, _BOTTOM, inner, _PANEL)
    error = add_axes(figure, _LEFT, _BOTTOM + _PANEL + _GAP, inner, _PANEL) if scores else below
    axes = [error, below] if scores else [error]
    bits = [p.average_bits for p in known] + [s.average_bits for s in scores] + [b for _, b in chosen]
    for panel in axes:
        _frame(panel, bits)
    _draw_error(error, known, policies)
    error.set_ylabel("predicted error", size=_SIZE)
    if not known:
        say(error, "no error was measured")
    last = 0.0
    for name, at in sorted(chosen, key=lambda entry: entry[1]):
        for panel in axes:
            panel.axvline(at, color=INK, linewidth=1.0, linestyle=":", zorder=1)
        if at > last * _APART:
            error.annotate(fit(name, 1.2, 9.0), (at, 1), (3, -2), xycoords=("data", "axes fraction"),
                           textcoords="offset points", size=9.0, va="top", color=INK)  # fmt: skip
            last = at
    if scores:
        _draw_scores(below, scores)
        below.set_ylabel("KL (nats per token)", size=_SIZE)
    below.set_xlabel("bits per weight (layers that are decided about)", size=_SIZE)
    title = "Plans: size against error"
    figure.text(0.12 / _WIDTH, 1 - 0.12 / height, title, size=12.5, weight="bold", color=INK, va="top")
    error.legend(handles=handles, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.02), borderaxespad=0, borderpad=0,
                 fontsize=10.0, handlelength=1.3, handletextpad=0.4, columnspacing=1.0)  # fmt: skip
    return figure, tuple(axes)


def draw_curve(folder: Path) -> list[Path]:
    """Write plan_curve.png of what a results folder holds: the curve, its plans, and scores of plans that are there.

    Raises:
        ResultsError: one of the files is damaged.
        PlanError: a plan is.
    """
    plans = {name: read_plan(path) for name, path in plan_files(folder).items()}
    sizes = [(name.removeprefix("plan_"), plan.average_bits()) for name, plan in plans.items()]
    named = [(name, bits) for name, bits in sizes if not math.isnan(bits)]
    scores = scores_of(plans, read_scores(folder))
    figure, _ = plot_plan_curve(read_curve(folder), chosen=named, scores=scores)
    return save(figure, folder / PICTURE)


def _frame(axes: Axes, bits: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=FAINT, linewidth=0.5)
    low, high = (min(bits), max(bits)) if bits else (3.0, 16.0)
    axes.set_xlim(low / 1.06, high * 1.06)
    ticks = [tick for tick in (1, 2, *SIZES, 12.0, 16.0) if low / 1.06 <= tick <= high * 1.06]
    axes.set_xticks(ticks or [round(low, 2)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=10.0)


def _draw_error(axes: Axes, points: Sequence[CurvePoint], policies: Sequence[str]) -> None:
    for policy in reversed(policies):  # the one that decided lies on top
        mine = [point for point in points if point.policy == policy]
        color = POLICY_COLORS.get(policy, GREY)
        line = [point for point in mine if point.mark in ("", KNEE)] if policy not in (UNIFORM, "thresholds") else mine
        x, y = [point.average_bits for point in line], [point.error for point in line]
        if policy in (UNIFORM, "thresholds"):
            axes.plot(x, y, "s" if policy == UNIFORM else "^", color=color, markersize=6, linestyle="", zorder=3)
            continue
        axes.plot(x, y, color=color, linewidth=1.8, zorder=2)
        for point in mine:
            if point.mark:
                face = color if point.mark == KNEE else "white"
                axes.plot([point.average_bits], [point.error], "D" if point.mark == KNEE else "o", color=color,
                          markerfacecolor=face, markersize=7 if point.mark == KNEE else 5, zorder=4)  # fmt: skip
    for point in points:
        if point.policy == UNIFORM:
            _label(axes, point.mark, point.average_bits, point.error)


def _draw_scores(axes: Axes, scores: Sequence[PlanScore]) -> None:
    """Draw the plans with the interval of their mean, formats alone as squares, random plans as small grey dots."""
    for score in scores:
        if not score.kl > 0:
            continue
        if score.name.startswith("random "):
            axes.plot([score.average_bits], [score.kl], ".", color=GREY, markersize=5, zorder=2)
            continue
        uniform = score.name.startswith("uniform ")
        axes.errorbar(
            [score.average_bits], [score.kl], yerr=[1.96 * score.kl_sem], fmt="s" if uniform else "o",
            color=POLICY_COLORS[UNIFORM] if uniform else INK, markersize=6, linewidth=1.2, zorder=3,
        )  # fmt: skip
        if uniform:
            _label(axes, score.name.removeprefix("uniform "), score.average_bits, score.kl)


def _label(axes: Axes, text: str, x: float, y: float) -> None:
    """Write a name below and left of a point, at the left edge right of it."""
    left = x < 1.15 * axes.get_xlim()[0]
    axes.annotate(fit(text, 1.1, 9.0), (x, y), (7, 0) if left else (-5, -4), textcoords="offset points", size=9.0,
                  color=GREY, ha="left" if left else "right", va="center" if left else "top")  # fmt: skip


def _handle(policy: str) -> Line2D:
    color = POLICY_COLORS.get(policy, GREY)
    if policy == UNIFORM:
        return Line2D([], [], color=color, marker="s", linestyle="", label="one format")
    if policy == "thresholds":
        return Line2D([], [], color=color, marker="^", linestyle="", label=policy)
    return Line2D([], [], color=color, linewidth=1.8, label=policy)
