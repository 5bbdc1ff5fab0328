"""What a person sees of a comparison, and of a training history, on stdout."""

import math
import re

from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.comparison_findings import comparison_findings
from alpha_callbacks.comparison.history_findings import history_findings
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import by_category, movers, summarize_deltas
from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.foreign_text import visible
from alpha_callbacks.tables.number_text import signed
from alpha_callbacks.utils.labels import middle_out

_MOST = 8  # layers listed
_LONGEST = 400  # characters of a name


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
        out.print(_movers(comparison, out.width - 46))
    if any(not math.isnan(pair.relative_error) for pair in comparison.pairs):
        out.print(_errors(comparison, out.width - 46))
    if comparison.left_out:
        out.print(_left_out(comparison, out.width // 3))
    for sentence in comparison_findings(comparison):
        out.print(f"• {escape(sentence)}")


def print_history(history: AlphaHistory, precision: str | None = None) -> None:
    """Print what was learned of a run."""
    out = console()
    for sentence in history_findings(history, precision):
        out.print(f"• {escape(sentence)}")
    if history.lacking:
        out.print(f"• An earlier version wrote the file, without {', '.join(history.lacking)}.")


def _categories(comparison: Comparison) -> RichTable:
    groups = [*by_category(comparison), summarize_deltas(comparison.pairs)]
    ranks = ["" if group.few or math.isnan(group.spearman_alpha) else f"{group.spearman_alpha:.3f}" for group in groups]
    words = ["category", "layers", "median change", "from", "to", "rise", "fall"]
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


def _movers(comparison: Comparison, room: int) -> RichTable:
    words = ("layer", "alpha A", "alpha B", "change", "/ spread")
    grid = RichTable(*words, title="Layers that changed most", title_justify="left")
    for column in grid.columns[1:]:
        column.justify = "right"
    for pair in movers(comparison, _MOST):
        assert pair.a is not None and pair.b is not None
        numbers = (
            f"{pair.a.alpha:.4f}",
            f"{pair.b.alpha:.4f}",
            signed(pair.delta, 3),
            signed(pair.delta / pair.spread),
        )
        grid.add_row(_name(pair, room), *numbers)
    return grid


def _errors(comparison: Comparison, room: int) -> RichTable:
    measured = [pair for pair in comparison.pairs if not math.isnan(pair.relative_error)]
    ranked = sorted(measured, key=lambda pair: -pair.relative_error)
    more = f" ({len(ranked) - _MOST} more in the table)" if len(ranked) > _MOST else ""
    words = ("layer", "alpha A", "alpha B", "error of B", "SQNR, dB")
    grid = RichTable(*words, title=f"Largest relative errors of the weights{more}", title_justify="left")
    for column in grid.columns[1:]:
        column.justify = "right"
    for pair in ranked[:_MOST]:
        alphas = ("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.4f}" for row in (pair.a, pair.b))
        grid.add_row(_name(pair, room), *alphas, f"{pair.relative_error:.3g}", f"{pair.sqnr_db:.1f}")
    return grid


def _left_out(comparison: Comparison, room: int) -> RichTable:
    more = len(comparison.left_out) - _MOST
    title = "Layers that are not compared" + (f" ({more} more in the table)" if more > 0 else "")
    grid = RichTable("layer", "alpha A", "alpha B", "why", title=title, title_justify="left")
    for pair in comparison.left_out[:_MOST]:
        alphas = ("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.4f}" for row in (pair.a, pair.b))
        grid.add_row(_name(pair, room), *alphas, escape(_short(pair)))
    return grid


def _name(pair: Pair, room: int) -> str:
    """Return a name in lines that fit, each of which ends after a dot or an underscore, not inside a word."""
    lines = [""]
    for part in re.split(r"(?<=[._])", middle_out(visible(pair.row.layer_name), _LONGEST)):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(map(escape, lines))


def _short(pair: Pair) -> str:
    return pair.reason if len(pair.reason) <= 160 else f"{pair.reason[:157]}…"
