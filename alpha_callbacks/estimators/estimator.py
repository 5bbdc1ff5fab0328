"""What an estimator of the tail exponent is: the one signature behind which every estimator stands.

To add one: a file beside `hill.py` with a class of this signature, its entry in `all_estimators.py`, and an option
to choose it (`AnalysisOptions.estimator` makes Hill's today).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from alpha_callbacks.solvers.perturbation import Perturbation
    from alpha_callbacks.solvers.spectrum import Rounding


TailStatus = Literal["ok", "degenerate", "rank_deficient"]


@dataclass(frozen=True)
class TailFit:
    """One fit of the upper tail of a spectrum.

    Attributes:
        alpha: tail exponent of the eigenvalue density, nan unless status is "ok".
        k: tail size used.
        x_min: the eigenvalue in the denominator (unit: weight squared).
        stderr: (alpha - 1) / sqrt(k), the i.i.d. guide. Eigenvalues repel, so the true spread is smaller.
        ks_distance: largest gap between the empirical and the fitted survival function of the tail, 0..1.
        status: "ok", "degenerate" or "rank_deficient".
    """

    alpha: float
    k: int
    x_min: float
    stderr: float
    ks_distance: float
    status: TailStatus


@dataclass(frozen=True)
class StoredMatrix:
    """What an estimator may know of a matrix beside its eigenvalues.

    Attributes:
        out_features: rows.
        in_features: columns.
        eps: relative spacing of the digits that its entries are stored in.
        typical: median size of its entries.
    """

    out_features: int
    in_features: int
    eps: float
    typical: float


class Estimator(Protocol):
    """Eigenvalues -> tail exponent. Eigenvalues are float64, shape (n,), descending, >= 0; unit: weight squared."""

    @property
    def name(self) -> str:
        """The name that rows and options call it by."""

    def tail_size(self, n: int) -> int:
        """Return how many of n eigenvalues are in the tail, 1 <= k <= n - 1; n is at least 2."""

    def null(self, out_features: int, in_features: int) -> float:
        """Return what pure noise of this shape scores; nan where that is not known."""

    def unresolved(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix, rounding: Rounding) -> str:
        """Return why eigenvalues with this rounding are not good enough for a fit, or an empty string."""

    def fit(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix) -> TailFit:
        """Fit the tail of a matrix with this ||W||_F^2."""

    def rank_floor(self, frobenius_sq: float, matrix: StoredMatrix) -> float:
        """Return the eigenvalue that cannot be told from zero in the stored digits of a matrix with this ||W||_F^2."""

    def error_bound(self, evals: Tensor, fit: TailFit, change: Perturbation, matrix: StoredMatrix) -> float:
        """Return a proved bound on |alpha(W) - alpha(W - E)| from the norms of E; inf where nothing is proved."""

    def leading(self, n: int) -> int:
        """Return how many of the largest of n eigenvalues alpha is a function of; 0 where all take part."""

    def alpha_range(self, lower: Tensor, upper: Tensor, matrix: StoredMatrix) -> tuple[float, float]:
        """Return the smallest and the largest alpha of spectra between two, whose `leading` eigenvalues are given."""
