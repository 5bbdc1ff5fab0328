"""Bounds on the rounding of fp64 products and eigenvalues that hold whatever the order of the sums."""

import math

import torch
from torch import Tensor

UNIT = 2.0**-53


def product_rounding(terms: int) -> float:
    """Return gamma: a computed A B is off by at most gamma |A| |B|, entry by entry, for sums of so many terms.

    It holds for every order of the sum, in blocks, with fused multiply-add or without; and ||(|A| |B|)||_F is at most
    ||A||_F ||B||_F. Source: Higham, Accuracy and Stability of Numerical Algorithms, 3.1 and 3.5.
    """
    return terms * UNIT / (1 - terms * UNIT)


def norm(values: Tensor) -> float:
    """Return an upper bound of the Frobenius norm."""
    return float(torch.linalg.vector_norm(values)) * (1 + 2 * product_rounding(values.numel() + 2))


def symmetric(lower: Tensor) -> Tensor:
    """Return the symmetric matrix with this lower triangle."""
    return lower.tril() + lower.tril(-1).T


def orthogonality_defect(vectors: Tensor) -> float:
    """Return an upper bound of ||V^T V - I||_2."""
    rows, columns = vectors.shape
    product = vectors.T @ vectors
    product.diagonal().sub_(1)
    return norm(product) + product_rounding(rows + 1) * norm(vectors) ** 2


def enclosed_eigenvalues(matrix: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return (values descending, vectors, how far each value may be off) of a symmetric matrix.

    The solver is not trusted: with computed U and w, R = A U - U diag(w) and e = ||U^T U - I||, the eigenvalues of A
    and w differ by at most (1 + e) (||R|| + 2 e ||w||_inf), for e < 0.3, in order.

    Args:
        matrix: shape (q, q), float64, symmetric.
    """
    ascending, backward = torch.linalg.eigh(matrix)
    values, vectors = ascending.flip(0), backward.flip(1)
    residual = matrix @ vectors
    residual -= vectors * values
    size = norm(vectors)
    largest = float(values.abs().max())
    off = norm(residual) + product_rounding(len(matrix) + 2) * size * (norm(matrix) + largest)
    defect = orthogonality_defect(vectors)
    if not defect < 0.3:
        return values, vectors, math.inf
    return values, vectors, (1 + defect) * (off + 2 * defect * largest) * (1 + 1e-9)
