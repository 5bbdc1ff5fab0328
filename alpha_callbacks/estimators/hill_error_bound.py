"""A proved bound on how far alpha-Hill moves when the weights move by E (docs/reuse_bound.md has the derivation)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from alpha_callbacks.estimators.estimator import TailFit
    from alpha_callbacks.solvers.perturbation import Perturbation


def hill_error_bound(evals: Tensor, fit: TailFit, error: Perturbation, *, anchor: int, summed: int = 0) -> float:
    """Bound |alpha(W) - alpha(Q(W))| for W with these eigenvalues and ||W - Q(W)|| as measured.

    Weyl gives |ds_i| <= ||E||_2 for every singular value s_i, Mirsky sum(ds_i^2) <= ||E||_F^2. The log sum
    S = sum 2 ln(s_i / s_min) then moves by at most D = 2 min(||E||_2 sum(c), ||E||_F |c|_2) / (1 - r), with
    c_i = 1 / s_i, c_min = k / s_min and r = ||E||_2 / s_min; alpha = 1 + k / S moves by at most k D / (S (S - D)).
    The rounding of the two eigenvalue solves that are compared is added to D (`rounding_spread`).

    Args:
        evals: shape (n,), float64, descending: the spectrum of W.
        fit: its Hill fit, status "ok".
        error: norms of W - Q(W).
        anchor: index of the threshold eigenvalue.
        summed: rows + cols; the terms whose rounding enters a Gram matrix and its eigenvalues. Default 2 n.

    Returns:
        The bound, inf where nothing can be proved.

    Source: Weyl 1912; Mirsky 1960; Horn and Johnson, Topics in Matrix Analysis, 3.3.16 and 3.3.31.
    """
    import torch

    sigma = evals.sqrt()
    smallest = float(sigma[anchor])
    ratio = error.spectral / smallest if smallest > 0 else math.inf
    if ratio >= 1 or fit.status != "ok":
        return math.inf
    c = 1.0 / sigma[: anchor + 1]
    c[anchor] *= anchor
    moved = 2 / (1 - ratio) * min(error.spectral * float(c.sum()), error.frobenius * float(torch.linalg.norm(c)))
    moved += 2 * rounding_spread(evals, anchor, units=max(summed, 2 * len(evals)))
    log_sum = fit.k / (fit.alpha - 1)
    return fit.k * moved / (log_sum * (log_sum - moved)) if moved < log_sum else math.inf


def rounding_spread(evals: Tensor, anchor: int, *, units: float, eps: float = 2.0**-52) -> float:
    """Return how far rounding may move the log sum S when each eigenvalue is off by `units * eps * evals[0]`.

    Args:
        evals: shape (n,), float64, descending.
        anchor: index of the threshold eigenvalue.
        units: the modest constant p(n) of LAPACK's error bound |d lambda| <= p(n) eps ||A||.
        eps: relative spacing of the arithmetic used.

    Source: LAPACK Users' Guide, 4.7 (symmetric eigenproblem).
    """
    each = units * eps * float(evals[0])
    return each * (float((1 / evals[:anchor]).sum()) + anchor / float(evals[anchor]))


def hill_range(lower: Tensor, upper: Tensor, *, k: int, anchor: int) -> tuple[float, float]:
    """Return the smallest and the largest alpha-Hill of spectra that lie between two.

    The log sum S = sum over i < anchor of ln(lambda_i / lambda_anchor) grows with each lambda_i and falls with the
    threshold, and alpha = 1 + k / S falls with S. Rounding of the logarithms is included.

    Args:
        lower: shape (anchor + 1,) or more, float64, descending: bounds from below; > 0 where something is known.
        upper: of the same shape: bounds from above.
        k: tail size.
        anchor: index of the threshold eigenvalue.
    """
    if not (anchor and float(lower[anchor]) > 0):
        return 1.0, math.inf
    small, large = (lower[:anchor] / upper[anchor]).log(), (upper[:anchor] / lower[anchor]).log()
    unit = 4 * (anchor + 4) * 2.0**-53
    least = float(small.sum()) - unit * (float(small.abs().sum()) + anchor)
    most = float(large.sum()) + unit * (float(large.abs().sum()) + anchor)
    low, high = 1 + k / most, (1 + k / least if least > 0 else math.inf)
    return low * (1 - 2.0**-50), high * (1 + 2.0**-50)
