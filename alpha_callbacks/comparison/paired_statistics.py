"""A comparison -> statistics of the paired differences, without a test of significance."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alpha_callbacks.comparison.paired_layers import Pair, PairedLayers
from alpha_callbacks.tables.statistics import TOO_FEW, spearman
from alpha_callbacks.tables.vocabulary import in_order

COMPARISON_COLUMNS = (
    "layers", "count", "median", "mean", "min", "q05", "q25", "q75", "q95", "max", "median_abs", "rises", "falls",
    "unmoved", "spread", "spearman_alpha", "spearman_ratio", "moved",
)  # fmt: skip


@dataclass(frozen=True)
class DeltaSummary:
    """Statistics of delta = alpha(B) - alpha(A) over some layers; nan where there are too few.

    Attributes:
        layers: a category, or "all".
        count: layers compared.
        median: of delta; so are mean, min, max and the quantiles.
        median_abs: median of |delta|.
        rises: layers whose alpha is larger in B, by more than the error of delta.
        falls: layers whose alpha is smaller in B.
        unmoved: the others.
        spread: interquartile range of alpha over the layers of A: the scale to judge delta by.
        spearman_alpha: rank correlation of alpha in A and in B.
        spearman_ratio: the same for alpha_ratio, which can be compared between shapes.
        moved: layers whose alpha changes by more than other noise would make it (`Pair.moved`).
    """

    layers: str
    count: int
    median: float
    mean: float
    min: float
    q05: float
    q25: float
    q75: float
    q95: float
    max: float
    median_abs: float
    rises: int
    falls: int
    unmoved: int
    spread: float
    spearman_alpha: float
    spearman_ratio: float
    moved: int = 0

    @property
    def moves(self) -> bool:
        """True if a layer's alpha has changed by more than the error of its delta."""
        return self.rises + self.falls > 0

    @property
    def few(self) -> bool:
        """True if there are too few layers to report a median or a rank correlation; the CSV holds them anyway."""
        return self.count < TOO_FEW


def summarize_deltas(pairs: Iterable[Pair], layers: str = "all") -> DeltaSummary:
    """Return the statistics of the pairs that have a delta; updates take part where there are no weights."""
    listed = list(pairs)
    pairs = [pair for pair in listed if not pair.row.is_update] or listed
    used = [(pair, pair.a, pair.b) for pair in pairs if pair.ok and pair.a and pair.b]
    if not used:
        nan = math.nan
        return DeltaSummary(layers, 0, nan, nan, nan, nan, nan, nan, nan, nan, nan, 0, 0, 0, nan, nan, nan)
    deltas = np.array([pair.delta for pair, _, _ in used])
    low, q25, median, q75, high = (float(q) for q in np.quantile(deltas, [0.05, 0.25, 0.5, 0.75, 0.95]))
    resolved = np.array([pair.resolved for pair, _, _ in used])
    first, last = np.quantile([a.alpha for _, a, _ in used], [0.25, 0.75])
    return DeltaSummary(
        layers=layers,
        count=len(used),
        median=median,
        mean=float(deltas.mean()),
        min=float(deltas.min()),
        q05=low,
        q25=q25,
        q75=q75,
        q95=high,
        max=float(deltas.max()),
        median_abs=float(np.median(np.abs(deltas))),
        rises=int((resolved & (deltas > 0)).sum()),
        falls=int((resolved & (deltas < 0)).sum()),
        unmoved=int((~resolved).sum()),
        spread=float(last - first),
        spearman_alpha=spearman([a.alpha for _, a, _ in used], [b.alpha for _, _, b in used]),
        spearman_ratio=spearman([a.alpha_ratio for _, a, _ in used], [b.alpha_ratio for _, _, b in used]),
        moved=sum(pair.moved for pair, _, _ in used),
    )


def by_category(comparison: PairedLayers) -> list[DeltaSummary]:
    """Return one summary per category that has a layer in both tables, in the order of `CATEGORIES`."""
    groups: dict[str, list[Pair]] = {}
    for pair in comparison.pairs:
        if pair.side == "both":
            groups.setdefault(pair.row.group, []).append(pair)
    return [summarize_deltas(groups[name], name) for name in in_order(groups)]


def movers(comparison: PairedLayers, count: int = 5, *, by_stderr: bool = False) -> list[Pair]:
    """Return the layers that changed most, by |delta| or |delta| / stderr, without those whose delta is unresolved."""

    def size(pair: Pair) -> float:
        return abs(pair.delta_in_stderr if by_stderr else pair.delta)

    moved = [pair for pair in comparison.compared if pair.resolved and math.isfinite(size(pair))]
    return sorted(moved, key=size, reverse=True)[:count]
