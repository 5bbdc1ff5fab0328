"""What a person sees of a comparison, and of a training history, on stdout."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table as RichTable

from alpha_callbacks.cli.layer_table import Heading, layer_table
from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.comparison_findings import comparison_findings
from alpha_callbacks.comparison.history_estimators import history_summaries, late_estimators
from alpha_callbacks.comparison.history_findings import history_findings
from alpha_callbacks.comparison.other_estimators import OtherSummary, other_summaries
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import by_category, movers, summarize_deltas
from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.foreign_text import visible
from alpha_callbacks.tables.number_text import signed
from alpha_callbacks.utils.labels import labels, middle_out

if TYPE_CHECKING:
    from rich.console import Console

_MOST = 8  # layers listed
_NARROWEST, _LONGEST = 16, 400  # characters of a name beside the reason why it is left out


def print_comparison(comparison: Comparison) -> None:
    """Print statistics per category, the layers that moved most, those left out, and what was learned."""
    out = console()
    sides = zip("AB", comparison.labels, comparison.precisions, strict=True)
    out.print(
        "\n".join(f"{side}: [bold]{escape(label)}[/bold], {escape(precision)}" for side, label, precision in sides)
    )
    if comparison.compared:
        out.print(_categories(comparison))
    if movers(comparison, 1):
        out.print(_movers(comparison, out))
    if others := other_summaries(comparison):
        out.print(_others(others))
    if any(not math.isnan(pair.relative_error) for pair in comparison.pairs):
        out.print(_errors(comparison, out))
    if comparison.left_out:
        out.print(_left_out(comparison, out))
    for sentence in comparison_findings(comparison):
        out.print(f"• {escape(sentence)}")


def print_history(history: AlphaHistory, precision: str | None = None, estimators: Sequence[str] = ()) -> None:
    """Print what was learned of a run, and what these other estimators say of it."""
    out = console()
    if estimators and len(history.steps) > 1:
        out.print(_others(history_summaries(history, estimators, precision)))
    late = late_estimators(history, estimators, precision) if len(history.steps) > 1 else []
    for sentence in [*history_findings(history, precision), *late]:
        out.print(f"• {escape(sentence)}")
    if history.lacking:
        out.print(f"• An earlier version wrote the file, without {', '.join(history.lacking)}.")


def _categories(comparison: Comparison) -> RichTable:
    groups = [*by_category(comparison), summarize_deltas(comparison.pairs)]
    ranks = ["" if group.few or math.isnan(group.spearman_alpha) else f"{group.spearman_alpha:.3f}" for group in groups]
    words = ["category", "layers", "median change", "lowest", "highest", "rise", "fall"]
    words += ["rank correlation"] if any(ranks[:-1]) else []  # that of all layers is told in words
    grid = RichTable(*words, title="Change of alpha, B − A", title_justify="left")
    for column in grid.columns[1:]:
        column.justify = "right"
    for group, rank in zip(groups, ranks, strict=True):
        known = group.moves or not group.count  # nan where nothing was compared
        changes = (signed(value if known else 0.0, 3) for value in (group.median, group.min, group.max))
        cells = (group.layers, str(group.count), *changes, str(group.rises), str(group.falls), rank)
        grid.add_row(*cells[: len(words)])
    return grid


def _movers(comparison: Comparison, out: "Console") -> RichTable:
    pairs, rows = movers(comparison, _MOST), []
    for pair in pairs:
        assert pair.a is not None and pair.b is not None
        alphas = (f"{pair.a.alpha:.4f}", f"{pair.b.alpha:.4f}")
        rows.append((*alphas, signed(pair.delta, 3), signed(pair.delta / pair.spread), pair.tails))
    headings = [Heading("alpha A", True), Heading("alpha B", True), Heading("change"), Heading("/ spread")]
    headings += [Heading("tail", True, left=True)] if any(pair.tails for pair in pairs) else []
    return layer_table(out, "Layers that changed most", [pair.row.layer_name for pair in pairs], headings, rows)


def _others(summaries: Sequence[OtherSummary]) -> RichTable:
    words = ("estimator", "layers", "median change", "rise", "fall", "moved")
    grid = RichTable(*words, title="The same by other estimators", title_justify="left")
    for column in grid.columns[1:]:
        column.justify = "right"
    for one in summaries:
        moved = "–" if one.moved is None else str(one.moved)  # it says nothing of its own firmness
        grid.add_row(one.estimator, str(one.count), signed(one.median, 3), str(one.rises), str(one.falls), moved)
    return grid


def _errors(comparison: Comparison, out: "Console") -> RichTable:
    measured = [pair for pair in comparison.pairs if not math.isnan(pair.relative_error)]
    ranked = sorted(measured, key=lambda pair: -pair.relative_error)
    more = f" ({len(ranked) - _MOST} more in the table)" if len(ranked) > _MOST else ""
    rows = [(*_alphas(pair), f"{pair.relative_error:.3g}", f"{pair.sqnr_db:.1f}") for pair in ranked[:_MOST]]
    headings = (Heading("alpha A", True), Heading("alpha B", True), Heading("error of B"), Heading("SQNR, dB"))
    names = [pair.row.layer_name for pair in ranked[:_MOST]]
    return layer_table(out, f"Largest relative errors of the weights{more}", names, headings, rows)


def _left_out(comparison: Comparison, out: "Console") -> RichTable:
    more = len(comparison.left_out) - _MOST
    title = "Layers that are not compared" + (f" ({more} more in the table)" if more > 0 else "")
    pairs = comparison.left_out[:_MOST]
    grid = RichTable("layer", "alpha A", "alpha B", "why", title=title, title_justify="left")
    grid.columns[0].no_wrap = True
    room = max(_NARROWEST, min(out.width // 2, _LONGEST))
    for label, pair in zip(labels([visible(pair.row.layer_name) for pair in pairs], room), pairs, strict=True):
        grid.add_row(escape(middle_out(label, room)), *_alphas(pair), escape(_short(pair)))
    return grid


def _alphas(pair: Pair) -> tuple[str, ...]:
    return tuple("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.4f}" for row in (pair.a, pair.b))


def _short(pair: Pair) -> str:
    return pair.reason if len(pair.reason) <= 160 else f"{pair.reason[:157]}…"
