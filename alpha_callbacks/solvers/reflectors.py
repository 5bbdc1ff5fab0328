"""Products of Householder reflectors, applied in fp64, with proved bounds of their rounding."""

import math

import torch
from torch import Tensor

from alpha_callbacks.solvers.rounding import UNIT, norm, product_rounding

_CHUNK = 512  # terms summed at a time: what can be proved of a sum gets worse with its length


class ReflectorBlock:
    """H = I - V S V^T, the product of a few reflectors I - 2 v v^T / (v^T v).

    S is computed and from then on exact: H is what it makes, and how far that is from orthogonal is measured.

    Attributes:
        vectors: V^T, shape (b, n), float64.
        s: S, shape (b, b), upper triangular.
        defect: a bound of ||H^T H - I||_2 and ||H H^T - I||_2.
        rounding: a bound of ||fl(H x) - H x||_F / ||x||_F, and of the same for H^T.

    Source: Schreiber and Van Loan, A storage-efficient WY representation for products of Householder transformations,
    1989; docs/fast_bound.md for the bounds.
    """

    def __init__(self, vectors: Tensor) -> None:
        """Compute S.

        Args:
            vectors: V^T, shape (b, n), float64, in the order of the product; a row of zeros is no reflector.
        """
        self.vectors = vectors
        count, n = vectors.shape
        product = _inner(vectors, vectors)
        halves, none = product.diagonal() / 2, product.diagonal() == 0
        inverse = product.triu(1)
        inverse.diagonal().copy_(torch.where(none, 1.0, halves))
        self.s = torch.linalg.solve_triangular(inverse, torch.eye(count, dtype=torch.float64), upper=True)
        self.s.diagonal()[none] = 0
        size, terms = norm(vectors), min(n, _CHUNK) + n // _CHUNK + 4
        in_product = product_rounding(terms) * size**2
        widest_sq = _spectral(product) + in_product  # ||V||_2^2
        size_s = math.sqrt(_spectral(self.s.abs().T @ self.s.abs())) * (1 + 1e-9)  # || |S| ||_2
        # H^T H - I = V (S^T V^T V S - S - S^T) V^T, and H H^T - I with S and S^T exchanged.
        worst = max(norm(s.T @ product @ s - s - s.T) for s in (self.s, self.s.T))
        worst += (in_product + 3 * product_rounding(count + 2) * norm(product)) * size_s**2
        worst += 4 * UNIT * norm(self.s)
        self.defect = widest_sq * worst * (1 + 1e-9)
        through = math.sqrt(2 * size_s + worst)  # ||V S||_2^2 = ||S^T V^T V S||_2
        self.rounding = (
            product_rounding(terms) * size * through
            + product_rounding(count) * widest_sq * size_s
            + product_rounding(count + 2) * (1 + size * through)
        ) * (1 + 1e-6)

    def apply(self, x: Tensor, *, transposed: bool) -> None:
        """Replace what the rows of x hold in their first n places, float64, by H or H^T times it."""
        x = x[:, : self.vectors.shape[1]]
        x.addmm_(_inner(x, self.vectors) @ (self.s if transposed else self.s.T), self.vectors, alpha=-1)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Return left right^T, summed in chunks."""
    n = left.shape[1]
    whole = n // _CHUNK * _CHUNK if n > _CHUNK else 0
    total = left[:, whole:] @ right[:, whole:].T
    if whole:
        chunks = [matrix[:, :whole].unflatten(1, (-1, _CHUNK)).transpose(0, 1) for matrix in (left, right)]
        total += torch.bmm(chunks[0], chunks[1].transpose(1, 2)).sum(dim=0)
    return total


def _spectral(matrix: Tensor) -> float:
    """Return an upper bound of ||A||_2 for a symmetric positive semidefinite matrix of a few rows."""
    trace = float(matrix.diagonal().sum())
    if trace == 0:
        return 0.0
    power = matrix / trace
    power = power @ power
    return trace * math.sqrt(math.sqrt(float(torch.linalg.vector_norm(power @ power)))) * (1 + 1e-6)
