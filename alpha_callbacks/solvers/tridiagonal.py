"""A symmetric matrix -> tridiagonal form -> all eigenvalues, and the eigenvectors of the largest: NumPy's LAPACK.

torch has all eigenvectors or none, and all cost two to four times what the values do. Nothing that is proved rests on
the vectors (docs/reuse_bound.md).
"""

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.numpy_blas import call

_BLOCK = 64  # columns that LAPACK reduces at a time


def tridiagonal_eigenvalues(diagonal: Tensor, off: Tensor) -> Tensor:
    """Return all eigenvalues of a tridiagonal matrix, ascending.

    Args:
        diagonal: shape (n,), float64.
        off: beside it, shape (n - 1,) or longer, float64.
    """
    values, beside = diagonal.clone(), off.clone()
    call("values", len(values), values, beside)
    return values


def eigenvalue_counts(diagonal: Tensor, off: Tensor, at: Tensor) -> Tensor:
    """Return how many eigenvalues of a tridiagonal matrix are below each of these numbers, by Sturm's sequence.

    Args:
        diagonal: shape (n,), float64.
        off: shape (n - 1,), float64.
        at: shape (2, m), float64.
    """
    n, count = len(diagonal), at.shape[1]
    squares = torch.cat([off.square(), torch.zeros(1, dtype=torch.float64)])
    pivot = max(float(squares.max()), 1.0) * torch.finfo(torch.float64).tiny
    found, at = torch.zeros(2, count, dtype=torch.int64), at.contiguous()
    middles, wanted = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)
    made, places = torch.zeros(1, dtype=torch.int64), torch.empty(count, dtype=torch.int64)
    work = torch.empty(count, dtype=torch.float64)
    call(
        "counts", 1, 0, n, count, count, 0, 0.0, 0.0, pivot, diagonal, squares, squares, wanted, at, middles, made,
        found, work, places,
    )  # fmt: skip
    return found


def reduce_single(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reduce the leading `count` rows and columns of a symmetric matrix to tridiagonal form in fp32.

    Args:
        matrix: shape (n, n), float32, contiguous, on the CPU. The lower triangle of that part, with its diagonal, is
            read and overwritten with the reflectors.
        count: 2 or more.

    Returns:
        Diagonal (count,), what is beside it (count - 1,), and the scale of each reflector (count - 1,), 0 for none.
    """
    diagonal, off, tau, work = (
        torch.zeros(m, dtype=torch.float32) for m in (count, count - 1, count - 1, _BLOCK * count)
    )
    call("reduce_single", "U", count, matrix, len(matrix), diagonal, off, tau, work, len(work))
    return diagonal, off, tau


class Tridiagonal:
    """A symmetric matrix G as Q T Q^T, T tridiagonal, Q a product of reflectors."""

    def __init__(self, gram: Tensor) -> None:
        """Reduce it.

        Args:
            gram: shape (n, n), float64, contiguous, on the CPU. Its lower triangle with the diagonal is read and
                overwritten with the reflectors; what is above the diagonal stays.
        """
        n = len(gram)
        self._reflectors = gram
        self.diagonal, self.off = torch.empty(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        self._tau, work = torch.empty(n, dtype=torch.float64), torch.empty(_BLOCK * n, dtype=torch.float64)
        # The lower triangle along rows is the upper one along columns, which is how LAPACK reads.
        call("reduce", "U", n, gram, n, self.diagonal, self.off, self._tau, work, len(work))

    def values(self) -> Tensor:
        """Return all eigenvalues, ascending."""
        return tridiagonal_eigenvalues(self.diagonal, self.off)

    def vectors(self, count: int) -> Tensor:
        """Return eigenvectors of the `count` largest eigenvalues of G, shape (n, count), the largest first."""
        n = len(self.diagonal)
        found, values = torch.zeros(1, dtype=torch.int64), torch.empty(n, dtype=torch.float64)
        along = torch.empty(count, n, dtype=torch.float64)  # along columns for LAPACK
        support, try_accuracy = torch.empty(2 * n, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
        work, places = torch.empty(18 * n, dtype=torch.float64), torch.empty(10 * n, dtype=torch.int64)
        call(
            "vectors", "V", "I", n, self.diagonal.clone(), self.off.clone(), 0.0, 0.0, n - count + 1, n, found, values,
            along, n, count, support, try_accuracy, work, len(work), places, len(places),
        )  # fmt: skip
        if int(found) != count:
            raise SolverError(f"LAPACK, vectors: expected {count} eigenvectors, got {int(found)}")
        work = torch.empty(_BLOCK * max(count, _BLOCK), dtype=torch.float64)
        call("rotate", "L", "U", "N", n, count, self._reflectors, n, self._tau, along, n, work, len(work))
        return along.T.flip(1).contiguous()
