"""The HTML that a notebook shows, from plain values. Everything is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.tables.statistics import PrecisionSummary

_FEW = 5
_NUMBER = "text-align: right"


class Line(NamedTuple):
    """One line of a small table: its words, then its numbers, or numbers as text."""

    words: tuple[str, ...]
    numbers: tuple[float | str, ...] = ()


class SmallTable(NamedTuple):
    """A small table: its caption, its column names, and lines that all have the same number of words."""

    caption: str
    columns: tuple[str, ...]
    lines: Sequence[Line]


def notebook_html(title: str, extent: str, tables: Iterable[SmallTable], *, notes: Iterable[str] = ()) -> str:
    """Return HTML for `_repr_html_`: a heading, notes, and the tables that have lines.

    Examples:
        >>> print(notebook_html("<b>", "2 layers", [], notes=["x"]))
        <div><p><b>&lt;b&gt;</b>: 2 layers</p>
        <p>x</p>
        </div>
    """
    parts = [f"<div><p><b>{_shown(title)}</b>: {_shown(extent)}</p>\n", *(f"<p>{_shown(n)}</p>\n" for n in notes)]
    for table in tables:
        if table.lines:
            parts.append(f"<p>{_shown(table.caption)}</p>\n" if table.caption else "")
            lines = [(*line.words, *map(_number, line.numbers)) for line in table.lines]
            parts.append(_table(table.columns, lines, words=len(table.lines[0].words)))
    return "".join([*parts, "</div>"])


def table_html(
    title: str,
    extent: str,
    summaries: Sequence[PrecisionSummary],
    heaviest: Sequence[Line],
    lost: Sequence[Line],
    *,
    note: str = "",
) -> str:
    """Return HTML for `_repr_html_`.

    Args:
        title: the heading.
        extent: how many layers, and at which precisions.
        summaries: one per precision.
        heaviest: (layer, category), (alpha, alpha ratio) of the heaviest tails.
        lost: (layer, precision, status, reason) of rows without alpha; the first few are shown.
        note: a line below the heading.
    """
    figures = [Line((s.precision,), (s.counted, s.mean, s.std, s.min, s.median, s.max)) for s in summaries]
    more = f", the first {_FEW}" if len(lost) > _FEW else ""
    tables = [
        SmallTable("", ("precision", "count", "mean", "std", "min", "median", "max"), figures),
        SmallTable("Heaviest clear tails for their shape", ("layer", "category", "alpha", "of noise"), heaviest),
        SmallTable(f"{len(lost):,} without alpha{more}", ("layer", "precision", "status", "reason"), lost[:_FEW]),
    ]
    return notebook_html(title, extent, tables, notes=[note] if note else [])


def _shown(text: str) -> str:
    return escape(visible(text))


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "–" if math.isnan(value) else f"{value:.4f}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first `words` columns are text and whose others are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        styles = ["text-align: left" if i < words else _NUMBER for i in range(len(cells))]
        return "".join(
            f'<{tag} style="{style}">{_shown(cell)}</{tag}>' for cell, style in zip(cells, styles, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return f"<table><thead><tr>{line(names, 'th')}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"
