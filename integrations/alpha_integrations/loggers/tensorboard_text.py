"""The layers that a person should look at first, as markdown that no layer name can break."""

import math
import re
from collections.abc import Sequence
from statistics import median

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.sinks.alert import AlertLine
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Row, Table

_ROWS = 10
_LONGEST = 120  # characters of a name or reason
_LONGEST_LIST = 600  # of the layers of an alert
_SAFE = re.compile(r"[\w .,:;=/+-]", re.ASCII)


def tails_text(snapshot: Snapshot) -> str:
    """Return the largest errors and moves, verdicts and heaviest tails, drifts, what has no alpha or is not shown."""
    table = snapshot.table
    parts = (
        _errors(snapshot),
        _moves(snapshot),
        _verdicts(table),
        _heaviest(table),
        _drifts(table),
        _lost(table),
        _copies(snapshot),
    )
    return "\n\n".join(part for part in parts if part)


def alerts_text(lines: Sequence[AlertLine]) -> str:
    """Return the new alerts of a state as a list."""
    return "\n".join(
        f"- **{escape(line.rule)}**: {escape(line.layers, _LONGEST_LIST)}{' Training stops.' * line.stops}"
        for line in lines
    )


def escape(text: str, longest: int = _LONGEST) -> str:
    r"""Return one line of text for a markdown table: what markdown or HTML could read as more is made an entity.

    Examples:
        >>> escape("q_proj"), escape("a|b`c\n<script>"), escape("__init__")
        ('q_proj', 'a&#124;b&#96;c &#60;script&#62;', '&#95;&#95;init&#95;&#95;')
    """
    line = visible(" ".join(text.split()))
    if len(line) > longest:
        line = f"{line[: longest // 3]}…{line[-(longest - longest // 3) :]}"
    line = "".join(c if _SAFE.match(c) or ord(c) > 127 else f"&#{ord(c)};" for c in line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", line)  # inside a word it is no emphasis


def _moves(snapshot: Snapshot) -> str:
    if snapshot.earlier is None:
        return ""
    title = f"Largest moves since step {snapshot.earlier.step} ({escape(snapshot.table.reference)})"
    rows = [
        (move.layer_name, f"{move.before:#.6g}", f"{move.now:#.6g}", f"{move.size:+.2e}")
        for move in snapshot.moves[:_ROWS]
    ]
    return _section(title, ("layer", "alpha before", "alpha", "move"), rows) or f"### {title}\n\nNo layer moved."


def _verdicts(table: Table) -> str:
    """Say how many tails are clear, and what other estimators make of the layers."""
    told = ", ".join(f"{count} {tail}" for tail, count in table.tails().items())
    medians = []
    for name in table.estimators:
        alphas = [layer[table.reference].alpha_of(name) for layer in table.main.layers]
        alphas = [alpha for alpha in alphas if math.isfinite(alpha)]
        medians.append(f"{name} {median(alphas):.4g} ({len(alphas)})" if alphas else f"{name} none")
    lines = [f"Tails: {told}."] if told else []
    lines += [f"Median alpha of other estimators (layers): {', '.join(medians)}."] if medians else []
    return "\n\n".join(lines)


def _heaviest(table: Table) -> str:
    rows = [layer[table.reference] for layer in table.heaviest(_ROWS)]
    return _section(
        f"Heaviest clear tails for their shape ({escape(table.reference)})",
        ("layer", "alpha", "alpha of noise", "alpha / noise"),
        [(row.layer_name, f"{row.alpha:#.6g}", f"{row.alpha_null:#.4g}", f"{row.alpha_ratio:.3f}") for row in rows],
    )


def _drifts(table: Table) -> str:
    return _section(
        f"Largest measured drifts from {escape(table.reference)}",
        ("layer", "precision", "alpha", "drift"),
        [
            (layer.first.layer_name, name, f"{layer[name].alpha:#.6g}", f"{drift:+.2e}")
            for layer, name, drift in table.most_drifted(_ROWS)
        ],
    )


def _errors(snapshot: Snapshot) -> str:
    """Return the largest errors of the last format below 16 bits."""
    if not snapshot.low_bit:
        return ""
    name = snapshot.low_bit[-1]
    rows = [row for row in snapshot.table.main if row.precision == name and math.isfinite(row.relative_error)]
    rows.sort(key=lambda row: -row.relative_error)
    return _section(
        f"Largest relative errors of the weights at {escape(name)}",
        ("layer", "alpha", "relative error"),
        [(row.layer_name, f"{row.alpha:#.6g}", f"{row.relative_error:.3g}") for row in rows[:_ROWS]],
    )


def _copies(snapshot: Snapshot) -> str:
    """Say which precisions have no cards of their own."""
    names = [name for name in snapshot.table.precisions if name not in snapshot.shown.precisions]
    if not names:
        return ""
    return f"{escape(', '.join(names))}: the same bits as {escape(snapshot.shown.reference)}, shown once."


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *([escape(cell) for cell in row] for row in rows)]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _lost(table: Table) -> str:
    lost = [row for row in table.main if not row.ok and row.status != "unchanged"]
    if not lost:
        return ""
    lines = [f"- {_reason(row)}" for row in lost[:_ROWS]]
    if len(lost) > _ROWS:
        lines.append(f"- and {len(lost) - _ROWS} more")
    return "### Without alpha\n\n" + "\n".join(lines)


def _reason(row: Row) -> str:
    why = f"{row.status}: {row.reason}" if row.reason else row.status
    return f"{escape(row.layer_name)} ({escape(row.precision)}): {escape(why)}"
