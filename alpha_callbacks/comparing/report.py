"""What a person sees of a comparison, and of a training history, on stdout."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from alpha_callbacks.comparing.comparison import Comparison, Pair, shape
from alpha_callbacks.comparing.history_reader import AlphaHistory
from alpha_callbacks.comparing.history_words import history_findings
from alpha_callbacks.comparing.summary import by_category, movers, summarize_deltas
from alpha_callbacks.comparing.words import comparison_findings

_MOST = 8  # layers listed


def print_comparison(comparison: Comparison) -> None:
    """Print statistics a category, the layers that moved most, those left out, and what was learned."""
    out = Console(highlight=False, soft_wrap=True)
    sides = zip("AB", comparison.labels, comparison.precisions, strict=True)
    out.print("\n".join(f"{side}: [bold]{escape(label)}[/bold], {precision}" for side, label, precision in sides))
    out.print(_categories(comparison))
    if movers(comparison, 1):
        out.print(_movers(comparison))
    if comparison.left_out:
        out.print(_left_out(comparison))
    for sentence in comparison_findings(comparison):
        out.print(f"• {escape(sentence)}")


def print_history(history: AlphaHistory, precision: str | None = None) -> None:
    """Print what was learned of a run."""
    out = Console(highlight=False, soft_wrap=True)
    for sentence in history_findings(history, precision):
        out.print(f"• {escape(sentence)}")


def _categories(comparison: Comparison) -> RichTable:
    words = ("category", "layers", "median change", "from", "to", "rise", "fall", "rank correlation")
    grid = RichTable(*words, title="Change of alpha, B − A", title_justify="left")
    for column in grid.columns[1:]:
        column.justify = "right"
    for group in (*by_category(comparison), summarize_deltas(comparison.pairs)):
        changes = (_signed(value if group.moves else 0.0) for value in (group.median, group.min, group.max))
        rank = "" if math.isnan(group.spearman_alpha) else f"{group.spearman_alpha:.3f}"
        grid.add_row(group.layers, str(group.count), *changes, str(group.rises), str(group.falls), rank)
    return grid


def _movers(comparison: Comparison) -> RichTable:
    words = ("layer", "shape", "alpha A", "alpha B", "change", "/ stderr")
    grid = RichTable(*words, title="Layers that moved most", title_justify="left")
    grid.columns[0].overflow = "fold"
    for column in grid.columns[2:]:
        column.justify = "right"
    for pair in movers(comparison, _MOST):
        assert pair.a is not None and pair.b is not None
        numbers = (f"{pair.a.alpha:.4f}", f"{pair.b.alpha:.4f}", _signed(pair.delta), _signed(pair.delta_in_stderr, 2))
        grid.add_row(escape(pair.row.layer_name), shape(pair.row), *numbers)
    return grid


def _left_out(comparison: Comparison) -> RichTable:
    more = len(comparison.left_out) - _MOST
    title = "Layers that are not compared" + (f" ({more} more in the table)" if more > 0 else "")
    grid = RichTable("layer", "alpha A", "alpha B", "why", title=title, title_justify="left")
    grid.columns[0].overflow = "fold"
    for pair in comparison.left_out[:_MOST]:
        alphas = ("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.4f}" for row in (pair.a, pair.b))
        grid.add_row(escape(pair.row.layer_name), *alphas, escape(_short(pair)))
    return grid


def _short(pair: Pair) -> str:
    return pair.reason if len(pair.reason) <= 160 else f"{pair.reason[:157]}…"


def _signed(value: float, digits: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:+.{digits}g}" if value else "0"
