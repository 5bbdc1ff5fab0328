"""Two tables, layer by layer: what alpha did from one to the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alpha_callbacks.comparison.name_mismatch import describe_mismatch
from alpha_callbacks.comparison.paired_layers import Pair, PairedLayers
from alpha_callbacks.comparison.partners import partners
from alpha_callbacks.errors import OptionError
from alpha_callbacks.tables.results_folder import table_of
from alpha_callbacks.tables.table import LayerRows, Row, Table


@dataclass(frozen=True)
class Comparison(PairedLayers):
    """Layers of two tables side by side, which show themselves in notebooks.

    Attributes:
        pairs: one per layer, in the order of A; those that only B has last.
        precisions: of A and of B.
        labels: the names of A and B.
    """

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from alpha_callbacks.comparison.notebook_views import comparison_html

        return comparison_html(self)


def compare(
    a: Table | str | Path,
    b: Table | str | Path,
    *,
    precisions: str | tuple[str, str] | None = None,
    labels: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Pair the layers of two tables.

    Layers belong together by name, in whatever way a library or an earlier version of this one spells it (see
    `partners`).

    Args:
        a: the first table, or the folder or results CSV of a scan.
        b: the second one; may be the same, to compare two precisions.
        precisions: one of both tables, or one of A and one of B; None: the finest that both have.
        labels: what A and B are called.

    Raises:
        OptionError: neither a table nor a path, a precision that a table lacks, no layer in common, or tails of
            different size (other k_frac, k_min or threshold): such alphas cannot be compared.
        ResultsError: a path without results.
    """
    a, b = table_of(a, "a"), table_of(b, "b")
    first, second = _precisions(a, b, precisions, labels)
    ours, theirs = (
        {layer.first.layer_name: _row(layer, p) for layer in t.layers} for t, p in ((a, first), (b, second))
    )
    partner = partners(ours, theirs)
    both = [(row, theirs.get(partner.get(name, ""))) for name, row in ours.items()]
    taken = set(partner.values())
    both += [(None, row) for name, row in theirs.items() if name not in taken]
    pairs = [_pair(*rows, labels) for rows in both if rows != (None, None)]
    if all(pair.side != "both" for pair in pairs):
        raise OptionError(
            f"{labels[0]} and {labels[1]}: expected layers in common, found none among {len(ours)} and {len(theirs)} "
            f"({describe_mismatch(list(ours), list(theirs), labels)}). Compare two states of one architecture."
        )
    _check_tails(pairs, labels)
    return Comparison(tuple(pairs), (first, second), labels)


def _precisions(a: Table, b: Table, asked: str | tuple[str, str] | None, labels: tuple[str, str]) -> tuple[str, str]:
    if asked is None:
        common = tuple(name for name in a.precisions if name in b.precisions)
        if not common:
            raise OptionError(
                f"precision: expected one that both have, got {', '.join(a.precisions)} in {labels[0]} and "
                f"{', '.join(b.precisions)} in {labels[1]}. Name one of each: --precision A,B."
            )
        finest = Table((), common).reference
        return finest, finest
    from alpha_callbacks.precisions.registry import get_precision

    chosen = (asked, asked) if isinstance(asked, str) else asked
    chosen = (get_precision(chosen[0]).name, get_precision(chosen[1]).name)
    for name, table, label in zip(chosen, (a, b), labels, strict=True):
        if name not in table.precisions:
            raise OptionError(f"precision: expected one of {', '.join(table.precisions)} for {label}, got {name!r}.")
    return chosen


def _row(layer: LayerRows, precision: str) -> Row | None:
    return next((row for row in layer.rows if row.precision == precision), None)


def _pair(a: Row | None, b: Row | None, labels: tuple[str, str]) -> Pair:
    if a is None or b is None:
        return Pair(a, b, f"only in {labels[b is not None]}")
    shape_a, shape_b = shape(a), shape(b)
    if shape_a and shape_b and shape_a != shape_b:  # a history does not say them
        return Pair(a, b, f"different shapes: {shape_a} and {shape_b}")
    lost = [f"{label}: {_why(row)}" for row, label in ((a, labels[0]), (b, labels[1])) if not _usable(row)]
    return Pair(a, b, "; ".join(lost))


def shape(row: Row) -> str:
    """Return the shape as text, "" where the file does not say (a history)."""
    return f"{row.out_features}x{row.in_features}" if row.out_features else ""


def _usable(row: Row) -> bool:
    return row.ok and math.isfinite(row.alpha)


def _why(row: Row) -> str:
    status = "no alpha" if row.ok else row.status
    return f"{status} ({row.reason})" if row.reason else status


def _check_tails(pairs: Sequence[Pair], labels: tuple[str, str]) -> None:
    """Refuse alphas of different tails; what a file does not say (k 0, no threshold) is not held against it."""
    for pair in pairs:
        if not (pair.ok and pair.a and pair.b):
            continue
        same_k = pair.a.k_used == pair.b.k_used or 0 in (pair.a.k_used, pair.b.k_used)
        same_rule = pair.a.threshold == pair.b.threshold or "" in (pair.a.threshold, pair.b.threshold)
        if not (same_k and same_rule):
            tails = (f"k = {row.k_used}, threshold {row.threshold or 'unknown'}" for row in (pair.a, pair.b))
            told = " and ".join(f"{tail} in {label}" for tail, label in zip(tails, labels, strict=True))
            raise OptionError(
                f"{pair.row.layer_name}: expected alphas of the same tail, got {told}. They cannot be compared: scan "
                "both with the same k_frac, k_min and threshold."
            )
