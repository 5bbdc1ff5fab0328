"""What a notebook shows of a table, from plain values. Everything is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from alpha_callbacks.tables.statistics import PrecisionSummary

_FEW = 5
_NUMBER = "text-align: right"


class Line(NamedTuple):
    """One line of a small table: its words, then its numbers."""

    words: tuple[str, ...]
    numbers: tuple[float, ...] = ()


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

    Examples:
        >>> print(table_html("<b>", "0 layers at fp32", [], [], []).split("<table")[0])
        <div><p><b>&lt;b&gt;</b>: 0 layers at fp32</p>
        <BLANKLINE>
    """
    parts = [f"<div><p><b>{escape(title)}</b>: {escape(extent)}</p>\n"]
    if note:
        parts.append(f"<p>{escape(note)}</p>\n")
    cells = [(s.precision, str(s.count), *map(_number, (s.mean, s.std, s.min, s.median, s.max))) for s in summaries]
    parts.append(_table(("precision", "count", "mean", "std", "min", "median", "max"), cells))
    if heaviest:
        parts.append("<p>Heaviest tails for their shape</p>\n")
        lines = [(*line.words, *map(_number, line.numbers)) for line in heaviest]
        parts.append(_table(("layer", "category", "alpha", "of noise"), lines, words=2))
    if lost:
        more = f", the first {_FEW}" if len(lost) > _FEW else ""
        parts.append(f"<p>{len(lost):,} without alpha{more}</p>\n")
        parts.append(_table(("layer", "precision", "status", "reason"), [line.words for line in lost[:_FEW]], words=4))
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
