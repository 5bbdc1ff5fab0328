"""What the other estimators of two tables say, beside alpha-Hill: a delta of each for every layer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from alpha_callbacks.comparison.paired_layers import SAME, Pair, PairedLayers
from alpha_callbacks.estimators.spread import TWO_SIDED, alpha_spread
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.tables.table import Row


@dataclass(frozen=True)
class OtherDelta:
    """One layer by one estimator, in two tables.

    Attributes:
        alpha_a: of A; nan where it has none.
        alpha_b: of B.
        moved: True if the change is beyond what the estimator says of its own firmness: the ranges of its refits do not
            overlap (csn), or it is more than 1.96 spreads (half). None where it says nothing of that, or has no delta.
    """

    alpha_a: float
    alpha_b: float
    moved: bool | None = None

    @property
    def delta(self) -> float:
        """Alpha of B - alpha of A."""
        return self.alpha_b - self.alpha_a


@dataclass(frozen=True)
class OtherSummary:
    """All layers by one estimator.

    Attributes:
        estimator: its name.
        count: layers with a delta.
        median: of delta.
        rises: layers whose alpha is larger in B.
        falls: layers whose alpha is smaller in B.
        moved: see `OtherDelta`; None for an estimator that says nothing of its firmness.
    """

    estimator: str
    count: int
    median: float
    rises: int
    falls: int
    moved: int | None


def shared_estimators(comparison: PairedLayers) -> tuple[str, ...]:
    """Return the other estimators that both tables have fits of, in the order of A."""
    sides = [(pair.a, pair.b) for pair in comparison.pairs]
    ours, theirs = (
        dict.fromkeys(fit.estimator for row in rows if row is not None for fit in row.estimates)
        for rows in ([a for a, _ in sides], [b for _, b in sides])
    )
    return tuple(name for name in ours if name in theirs)


def other_delta(pair: Pair, estimator: str) -> OtherDelta:
    """Return what an estimator says of a layer; nan where a side has no fit, or the layers cannot be compared."""
    a, b = _fit(pair.a, estimator), _fit(pair.b, estimator)
    if pair.a is None or pair.b is None or a is None or b is None or _shape(pair.a) != _shape(pair.b):
        return OtherDelta(math.nan, math.nan)
    return OtherDelta(a.alpha, b.alpha, moved_apart(a, b, (pair.a.n_eigs, pair.b.n_eigs)))


def other_summaries(comparison: PairedLayers) -> list[OtherSummary]:
    """Return one summary per estimator that both tables have."""
    return [_summary(comparison.pairs, name) for name in shared_estimators(comparison)]


def _summary(pairs: Sequence[Pair], estimator: str) -> OtherSummary:
    return summary_of(estimator, [other_delta(pair, estimator) for pair in pairs])


def summary_of(estimator: str, deltas: Iterable[OtherDelta]) -> OtherSummary:
    """Return the summary of some layers; those without a delta do not count."""
    found = [delta for delta in deltas if math.isfinite(delta.delta)]
    told = [delta.moved for delta in found if delta.moved is not None]
    return OtherSummary(
        estimator,
        len(found),
        median(delta.delta for delta in found) if found else math.nan,
        sum(delta.delta > SAME * delta.alpha_a for delta in found),
        sum(delta.delta < -SAME * delta.alpha_a for delta in found),
        sum(told) if told else None,
    )


def _fit(row: Row | None, estimator: str) -> TailEstimate | None:
    return next((fit for fit in row.estimates if fit.estimator == estimator), None) if row is not None else None


def _shape(row: Row) -> tuple[int, int]:
    return row.out_features, row.in_features


def moved_apart(a: TailEstimate, b: TailEstimate, n_eigs: tuple[int, int]) -> bool | None:
    """Return whether two fits by one estimator are apart by more than it says of its firmness, see `OtherDelta`.

    Args:
        a: one fit.
        b: another.
        n_eigs: number of eigenvalues of each.
    """
    fits = (a, b)
    if not all(math.isfinite(fit.alpha) for fit in fits):
        return None
    if all(math.isfinite(fit.low) and math.isfinite(fit.high) for fit in fits):
        return max(fit.low for fit in fits) > min(fit.high for fit in fits)
    if a.estimator == "half":  # Hill's, with more of the spectrum: what holds of its spread holds here
        spreads = [alpha_spread(fit.alpha, fit.n_tail, n) for fit, n in zip(fits, n_eigs, strict=True)]
        limit = TWO_SIDED * math.hypot(*spreads)
        return None if math.isnan(limit) else abs(b.alpha - a.alpha) > limit
    return None
