"""Proved bounds of the leading eigenvalues -> the fit of the tail, with a proved bound of its alpha."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit


@dataclass(frozen=True)
class EnclosedFit:
    """A fit whose status is certain and whose alpha is within `bound` of the true one.

    Attributes:
        fit: the fit, status "ok".
        bound: |alpha - the true alpha| is at most this.
        low: the proved range of alpha begins here.
        high: and ends here.
    """

    fit: TailFit
    bound: float
    low: float
    high: float


def enclosed_fit(
    evals: Tensor, lower: Tensor, upper: Tensor, squares: float, estimator: Estimator, stored: StoredMatrix
) -> EnclosedFit | None:
    """Return the fit of eigenvalues of which the leading ones are enclosed; None where that says too little.

    Args:
        evals: shape (n,), float64, descending, >= 0.
        lower: shape (p,): the i-th of the true eigenvalues is at least this.
        upper: shape (p,): and at most this; p is what `estimator.leading` says.
        squares: ||W||_F^2.
        estimator: what fits the tail.
        stored: what it may know of the matrix.
    """
    if not (len(lower) and bool(torch.isfinite(lower).all() and torch.isfinite(upper).all())):
        return None
    flattest = torch.cat([lower[:-1].clamp(min=float(upper[-1])), upper[-1:]])
    rest = evals[len(lower) :]
    # A status is certain only where all ends of the enclosure have it.
    ends = [
        torch.cat([leading, rest.clamp(max=float(leading[-1]))])
        for leading in map(_descending, (lower, upper, flattest))
    ]
    if any(estimator.fit(each, squares, stored).status != "ok" for each in ends):
        return None
    fit = estimator.fit(evals, squares, stored)
    low, high = estimator.alpha_range(lower, upper, stored)
    bound = max(high - fit.alpha, fit.alpha - low) * (1 + 1e-9)  # of differences that are computed
    if fit.status != "ok" or not math.isfinite(bound):
        return None
    return EnclosedFit(fit, bound, low, high)


def _descending(values: Tensor) -> Tensor:
    return values.clamp(min=0).sort(descending=True).values
