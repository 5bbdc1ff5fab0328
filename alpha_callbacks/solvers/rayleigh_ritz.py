"""The largest eigenvalues of W'^T W' from vectors that nearly are its own, each between two proved bounds.

docs/reuse_bound.md has the theorem and the derivation of every term.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.solvers.rounding import UNIT, enclosed_eigenvalues, norm, product_rounding, symmetric

_SPLIT = 1e-3  # t in (A + B)^T (A + B) <= (1 + t) A^T A + (1 + 1/t) B^T B, where B is rounding


@dataclass(frozen=True)
class RitzValues:
    """Enclosures of the largest eigenvalues of one matrix, descending.

    Attributes:
        lower: shape (q,), float64: the i-th eigenvalue is at least this.
        upper: shape (p,), float64, p <= q: the i-th eigenvalue is at most this.
        estimate: shape (q,), float64: Ritz values corrected to second order; within the bounds where there are two.
        frobenius_norm: ||W'||_F.
    """

    lower: Tensor
    upper: Tensor
    estimate: Tensor
    frobenius_norm: float


class RayleighRitz:
    """Accumulates B = W' V, H = B^T B and Y = W'^T B over blocks of rows, in one pass."""

    def __init__(self, vectors: Tensor, defect: float) -> None:
        """Begin.

        Args:
            vectors: V, shape (n, q), float64.
            defect: a bound of ||V^T V - I||_2.
        """
        n, q = vectors.shape
        self._vectors, self._defect = vectors, defect
        self._projected = torch.zeros(q, q, dtype=torch.float64)
        self._carried = torch.zeros(n, q, dtype=torch.float64)
        self._rows, self._squares = 0, 0.0

    def add(self, block: Tensor) -> None:
        """Add rows of W', shape (b, n), float64."""
        image = block @ self._vectors
        add_gram(image, self._projected)
        self._carried.addmm_(block.T, image)
        self._rows += len(block)
        self._squares += float(torch.linalg.vector_norm(block)) ** 2

    def result(self, beyond: float, count: int, rest: Tensor) -> RitzValues | None:
        """Return the enclosures of the `count` largest eigenvalues; None where nothing is proved.

        Args:
            beyond: s, a proved bound of ||W' x||^2 for unit x orthogonal to V.
            count: p; the bounds above need s below the p-th Ritz value.
            rest: shape (r,), float64, >= 0: about the eigenvalues beyond V, for the estimate.
        """
        n, q = self._vectors.shape
        h = symmetric(self._projected)
        ritz, turned, off = enclosed_eigenvalues(h)
        whole, size, size_h = math.sqrt(self._squares) * (1 + 1e-8), norm(self._vectors), norm(h)
        image = math.sqrt(float(h.trace()) * (1 + 1e-8))  # ||B||_F as computed
        in_image = product_rounding(n) * whole * size
        largest = math.sqrt(float(ritz[0]) + off + product_rounding(self._rows) * image**2)  # ||B||_2
        in_h = (product_rounding(self._rows) * image**2 + 2 * largest * in_image + in_image**2) * (1 + 1e-9)
        lower = (ritz - (in_h + off)) / (1 + self._defect)
        lower -= lower.abs() * 4 * UNIT
        gap = (float(lower[count - 1]) - beyond) * (1 - 4 * UNIT)
        if not (self._defect < 0.1 and gap > 0):
            return None
        y = torch.addmm(self._carried, self._vectors, h, alpha=-1)
        in_y = (
            product_rounding(self._rows) * whole * image
            + whole * in_image
            + product_rounding(q + 2) * (size * size_h + norm(self._carried))
        )
        coupling = torch.zeros_like(h)
        add_gram(y, coupling)
        coupling = symmetric(coupling)
        raised = h + coupling * ((1 + _SPLIT) / gap)
        above, _, off_above = enclosed_eigenvalues(raised)
        in_coupling = (product_rounding(n) * (1 + _SPLIT) * norm(y) ** 2 + (1 + 1 / _SPLIT) * in_y**2) / gap
        slack = in_h + off_above + (in_coupling + 4 * UNIT * norm(raised)) * (1 + 1e-9)
        upper = (above[:count] + slack) / (1 - self._defect)
        upper += upper.abs() * 4 * UNIT
        estimate = ritz + _second_order(ritz, ((turned.T @ coupling) * turned.T).sum(dim=1), rest)
        estimate[:count] = torch.clamp(estimate[:count], lower[:count], upper)
        estimate[count:].clamp_(max=float(estimate[:count].min()))
        return RitzValues(lower, upper, estimate, math.sqrt(self._squares))


def _second_order(ritz: Tensor, coupled: Tensor, rest: Tensor) -> Tensor:
    """Return what coupling with the complement adds to each Ritz value, to second order, on average.

    A change E with independent entries couples the i-th vector with the j-th of the complement by a square that is
    proportional to lambda_i + lambda_j.

    Args:
        ritz: shape (q,).
        coupled: shape (q,): squared norm of the coupling of each Ritz vector.
        rest: shape (r,), >= 0: eigenvalues of the complement.
    """
    if not len(rest):
        return torch.zeros_like(ritz)
    gaps = ritz[:, None] - rest
    weights = ritz[:, None] + rest
    # Beside the complement no average means anything, and of a matrix of low rank all of these may be zero.
    smallest = 1e-3 * max(float(ritz[-1]), 1e-12 * float(ritz[0]))
    total = weights.sum(dim=1).clamp(min=smallest)
    return coupled * (weights / gaps.clamp(min=smallest)).sum(dim=1) / total
