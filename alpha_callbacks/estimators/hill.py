"""Hill's estimator with a fixed share of the spectrum as its tail: alpha-Hill."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.estimators.estimator import StoredMatrix, TailFit
from alpha_callbacks.estimators.hill_error_bound import hill_error_bound, hill_range, rounding_spread
from alpha_callbacks.estimators.marchenko_pastur import alpha_null
from alpha_callbacks.estimators.tail_estimate import spread_of_equal

if TYPE_CHECKING:
    from torch import Tensor

    from alpha_callbacks.solvers.perturbation import Perturbation
    from alpha_callbacks.solvers.spectrum import Rounding

Threshold = Literal["next", "last"]


HillFit = TailFit  # its public name

_FINE = 8 * 2.0**-52  # what fp64 arithmetic itself resolves


# A tail whose alpha is this many times that of noise is none: the matrix is orthogonal but for what made it. QR in fp32
# leaves much more than the rounding of the entries, by an amount that no bound on the stored digits knows.
FLATTEST = 100

# Of bf16. Coarser formats are studied for their noise, which must not be mistaken for a loss of rank.
_COARSEST_EPS = 2.0**-7


@dataclass(frozen=True)
class Hill:
    """Alpha-Hill behind the signature of `Estimator`.

    Attributes:
        k_frac: share of the spectrum taken as its tail, 0 < k_frac < 1.
        k_min: smallest tail.
        threshold: "next" divides by eigenvalue k + 1, "last" by eigenvalue k.
    """

    k_frac: float = 0.1
    k_min: int = 10
    threshold: Threshold = "next"

    @property
    def name(self) -> str:
        """The name that rows and options call it by."""
        return "hill"

    def tail_size(self, n: int) -> int:
        """Return k of n eigenvalues."""
        return tail_size(n, k_frac=self.k_frac, k_min=self.k_min)

    def null(self, out_features: int, in_features: int) -> float:
        """Return alpha of the Marchenko-Pastur law of this shape."""
        n = min(out_features, in_features)
        return alpha_null(out_features, in_features, self.tail_size(n) if n >= 2 else 0)

    def unresolved(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix, rounding: Rounding) -> str:
        """Return why rounding of this size spoils the log sum, or an empty string."""
        tail = self._tail(matrix)
        top, x_min = float(evals[0]), float(evals[tail.anchor])
        noise = rounding.units * rounding.eps * top
        if max(x_min, 0.0) + noise <= tail.rank_floor(frobenius_sq):  # surely rank deficient
            return ""
        if x_min <= noise:
            return f"threshold eigenvalue is lost in the rounding of {rounding.name}"
        if math.log(top / x_min) <= tail.spread_floor:  # surely degenerate
            return ""
        log_sum = float((evals[: tail.anchor] / x_min).log().sum())
        if rounding_spread(evals, tail.anchor, units=rounding.units, eps=rounding.eps) > rounding.goal * log_sum:
            return f"threshold eigenvalue is {x_min / top:.1g} of the largest, below what {rounding.name} resolves"
        return ""

    def fit(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix) -> TailFit:
        """Fit the tail; its status says where the stored digits do not resolve one."""
        tail = self._tail(matrix)
        rank_floor = tail.rank_floor(frobenius_sq)
        found = hill_alpha(
            evals, k=tail.k, threshold=tail.threshold, spread_floor=tail.spread_floor, rank_floor=rank_floor
        )
        flat = found.alpha > FLATTEST * self.null(matrix.out_features, matrix.in_features)
        return (
            replace(found, alpha=math.nan, stderr=math.nan, ks_distance=math.nan, status="degenerate")
            if flat
            else found
        )

    def error_bound(self, evals: Tensor, fit: TailFit, change: Perturbation, matrix: StoredMatrix) -> float:
        """Return the proved bound of docs/reuse_bound.md."""
        summed = matrix.out_features + matrix.in_features
        return hill_error_bound(evals, fit, change, anchor=self._tail(matrix).anchor, summed=summed)

    def rank_floor(self, frobenius_sq: float, matrix: StoredMatrix) -> float:
        """Return the eigenvalue that cannot be told from zero in the stored digits of a matrix with this ||W||_F^2."""
        return self._tail(matrix).rank_floor(frobenius_sq)

    def leading(self, n: int) -> int:
        """Return the tail and its threshold."""
        return self.tail_size(n) + (self.threshold == "next")

    def alpha_range(self, lower: Tensor, upper: Tensor, matrix: StoredMatrix) -> tuple[float, float]:
        """Return the range of docs/reuse_bound.md."""
        tail = self._tail(matrix)
        return hill_range(lower, upper, k=tail.k, anchor=tail.anchor)

    def _tail(self, matrix: StoredMatrix) -> Tail:
        return tail_of(
            matrix.out_features,
            matrix.in_features,
            k_frac=self.k_frac,
            k_min=self.k_min,
            threshold=self.threshold,
            eps=min(matrix.eps, _COARSEST_EPS),
            typical=matrix.typical,
        )


@dataclass(frozen=True)
class Tail:
    """Which eigenvalues are the tail of one matrix, and what its stored digits can resolve.

    Attributes:
        k: tail size.
        threshold: "next": x_min is eigenvalue k + 1; "last": eigenvalue k.
        spread_floor: a tail with ln(largest / x_min) not above this is flat to within the stored digits.
        noise: singular values not above this are rounding of the stored digits (unit: weight).
    """

    k: int
    threshold: Threshold
    spread_floor: float = _FINE
    noise: float = 0.0

    @property
    def anchor(self) -> int:
        """Index of x_min, which is also the number of log ratios that are not zero."""
        return self.k if self.threshold == "next" else self.k - 1

    def rank_floor(self, frobenius_sq: float) -> float:
        """Return the eigenvalue that cannot be told from zero in a matrix with this ||W||_F^2."""
        return max(self.noise**2, _FINE**2 * frobenius_sq)


def tail_of(
    out_features: int,
    in_features: int,
    *,
    k_frac: float,
    k_min: int,
    threshold: Threshold,
    eps: float,
    typical: float,
) -> Tail:
    """Return the tail rule of a matrix stored with relative spacing `eps` and entries of `typical` (median) size.

    Independent rounding of the entries has spectral norm of about 0.3 eps typical (sqrt(rows) + sqrt(cols)), and
    spreads the equal eigenvalues of an orthogonal matrix by about 0.2 eps sqrt(min / max). The floors are 7 and 5
    times that, far below what noise itself shows (alpha_null), so that an orthogonal initialisation or a low-rank
    product is told apart from a fitted tail in every stored precision. The median is used because a few huge entries
    are rounded in only a few directions.
    """
    small, large = sorted((out_features, in_features))
    return Tail(
        tail_size(small, k_frac=k_frac, k_min=k_min),
        threshold,
        spread_floor=max(eps * math.sqrt(small / large), spread_of_equal(small)),
        noise=2 * eps * typical * (math.sqrt(small) + math.sqrt(large)),
    )


def tail_size(n: int, *, k_frac: float = 0.1, k_min: int = 10) -> int:
    """Return k = clamp(max(k_min, floor(k_frac * n)), 1, n - 1), the number of eigenvalues in the tail.

    Args:
        n: number of eigenvalues, at least 2.
        k_frac: share of the spectrum taken as its tail, 0 < k_frac < 1.
        k_min: smallest tail wanted.

    Raises:
        SpectrumError: fewer than two eigenvalues.

    Examples:
        >>> tail_size(4096), tail_size(64), tail_size(8)
        (409, 10, 7)
    """
    if n < 2:
        raise SpectrumError(f"tail_size: expected at least 2 eigenvalues, got {n}. A vector has no spectrum to fit.")
    return min(max(k_min, math.floor(k_frac * n), 1), n - 1)


def hill_alpha(
    evals: Tensor, *, k: int, threshold: Threshold = "next", spread_floor: float = 0.0, rank_floor: float = 0.0
) -> HillFit:
    """Estimate the tail exponent of an eigenvalue spectrum (Hill).

    alpha = 1 + k / sum(ln(evals[i] / x_min) for i < k), x_min = evals[k] ("next") or evals[k - 1] ("last"); the scale
    of W cancels, and no absolute epsilon enters.

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.
        k: tail size, 1 <= k <= n - 1.
        threshold: which eigenvalue is x_min.
        spread_floor: a tail whose ln(evals[0] / x_min) is not above this has no exponent ("degenerate").
        rank_floor: x_min not above this eigenvalue is numerically zero ("rank_deficient").

    Returns:
        HillFit; alpha is nan unless its status is "ok".

    Raises:
        SpectrumError: wrong shape, order or sign, or k out of range.

    Source: Hill 1975; Zhou et al., TempBalance, 2023 (PL_Alpha_Hill).

    Examples:
        >>> import torch
        >>> round(hill_alpha(torch.tensor([8., 4., 2., 1.], dtype=torch.float64), k=3).alpha, 4)
        1.7213
    """
    import torch

    _check(evals, k)
    x_min = float(evals[k] if threshold == "next" else evals[k - 1])
    tail = evals[:k]
    if float(evals[0]) == x_min:  # covers the zero matrix
        return HillFit(math.nan, k, x_min, math.nan, math.nan, "degenerate")
    if x_min <= rank_floor:
        return HillFit(math.nan, k, x_min, math.nan, math.nan, "rank_deficient")
    log_ratios = (tail / x_min).log()
    if float(log_ratios[0]) <= spread_floor:
        return HillFit(math.nan, k, x_min, math.nan, math.nan, "degenerate")
    alpha = 1.0 + k / float(log_ratios.sum())
    survival = (-(alpha - 1.0) * log_ratios).exp()  # fitted P(x >= evals[i]), ascending in i
    steps = torch.arange(k + 1, dtype=torch.float64) / k
    gap = torch.maximum((survival - steps[:-1]).abs(), (survival - steps[1:]).abs()).max()
    return HillFit(alpha, k, x_min, (alpha - 1.0) / math.sqrt(k), float(gap), "ok")


def _check(evals: Tensor, k: int) -> None:
    """Raise SpectrumError unless evals is a usable descending spectrum and 1 <= k < n."""
    import torch

    if evals.ndim != 1 or evals.dtype != torch.float64:
        raise SpectrumError(f"hill_alpha: expected a 1-D float64 tensor, got {tuple(evals.shape)} {evals.dtype}.")
    if not 1 <= k <= len(evals) - 1:
        raise SpectrumError(f"hill_alpha: expected 1 <= k <= {len(evals) - 1}, got k={k}. Use tail_size().")
    values = evals.detach().cpu().numpy()  # by torch each step would wait for Python's lock where other workers hold it
    if not np.isfinite(values).all() or values[-1] < 0 or (values[1:] > values[:-1]).any():
        raise SpectrumError("hill_alpha: expected finite eigenvalues >= 0 in descending order.")
