"""A table as a notebook shows it: a summary, the heaviest layers, what failed. Everything is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from alpha_callbacks.summary import heaviest, summarize
from alpha_callbacks.table import Table

_FEW = 5
_NUMBER = "text-align: right"


def table_html(table: Table, note: str = "") -> str:
    """Return HTML for `_repr_html_`.

    Args:
        table: what to show.
        note: a line below the heading.

    Examples:
        >>> print(table_html(Table((), ("fp32",), "<b>")).split("<table")[0])
        <div><p><b>alpha-Hill of &lt;b&gt;</b>: 0 layers at fp32</p>
        <BLANKLINE>
    """
    layers = f"{len(table):,} layer{'s' * (len(table) != 1)}"
    heading = f"<b>alpha-Hill{' of ' * bool(table.model)}{escape(table.model)}</b>: {layers} at "
    parts = [f"<div><p>{heading}{escape(', '.join(table.precisions))}</p>\n"]
    if note:
        parts.append(f"<p>{escape(note)}</p>\n")
    summaries = [
        (s.precision, str(s.count), *map(_number, (s.mean, s.std, s.min, s.median, s.max))) for s in summarize(table)
    ]
    parts.append(_table(("precision", "count", "mean", "std", "min", "median", "max"), summaries))
    if found := heaviest(table, _FEW):
        parts.append("<p>Heaviest tails for their shape</p>\n")
        rows = [layer[table.reference] for layer in found]
        cells = [(row.layer_name, row.category, _number(row.alpha), _number(row.alpha_ratio)) for row in rows]
        parts.append(_table(("layer", "category", "alpha", "of noise"), cells, words=2))
    lost = [row for row in table if not row.ok]
    if lost:
        more = f", the first {_FEW}" if len(lost) > _FEW else ""
        parts.append(f"<p>{len(lost):,} without alpha{more}</p>\n")
        failures = [(row.layer_name, row.precision, row.status, row.reason) for row in lost[:_FEW]]
        parts.append(_table(("layer", "precision", "status", "reason"), failures, words=4))
    return "".join([*parts, "</div>"])


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first `words` columns are text and whose others are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        styles = ["text-align: left" if i < words else _NUMBER for i in range(len(cells))]
        return "".join(
            f'<{tag} style="{style}">{escape(cell)}</{tag}>' for cell, style in zip(cells, styles, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return f"<table><thead><tr>{line(names, 'th')}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"
