"""The eigenvectors of the largest eigenvalues of a Gram matrix, and a proved bound on what is outside their span."""

from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.gram import add_gram, mirror
from alpha_callbacks.solvers.rounding import orthogonality_defect, product_rounding
from alpha_callbacks.solvers.tridiagonal import Tridiagonal

_MARGIN = 1e-6  # what is tried to be proved exceeds the first eigenvalue outside by this share of it


@dataclass(frozen=True)
class TopSpace:
    """Vectors V near the eigenvectors of the q largest eigenvalues of W^T W.

    Attributes:
        vectors: shape (n, q), float64, the largest first.
        rest: shape (n - q,), float64, descending, >= 0: the other eigenvalues as computed; nothing is proved of them.
        defect: a proved bound of ||V^T V - I||_2.
        beyond: a proved bound of ||W x||^2 for unit x orthogonal to V.
    """

    vectors: Tensor
    rest: Tensor
    defect: float
    beyond: float


class TopSpaceSolver:
    """All eigenvalues of a Gram matrix first, then the vectors of the largest, in the memory of the matrix."""

    def __init__(self, gram: Tensor, *, frobenius_sq: float, summed: int) -> None:
        """Compute the eigenvalues.

        Args:
            gram: shape (n, n), float64, contiguous, on the CPU, as `add_gram` fills it. It is overwritten.
            frobenius_sq: ||W||_F^2.
            summed: rows whose products were summed into each entry.
        """
        self._gram, self._diagonal = gram, gram.diagonal().clone()
        self._frobenius_sq, self._summed = frobenius_sq, summed
        mirror(gram)  # the reflectors take the lower triangle
        self._form = Tridiagonal(gram)
        self.evals = self._form.values().flip(0)

    def top(self, columns: int) -> TopSpace:
        """Return the vectors of so many of the largest eigenvalues; afterwards the Gram matrix is gone.

        Raises:
            SolverError: LAPACK failed, or nothing could be proved.
        """
        vectors = self._form.vectors(columns)
        defect = orthogonality_defect(vectors)
        if not defect < 0.1:
            raise SolverError(f"top_space: expected orthogonal vectors, got V^T V off by {defect:.1g}")
        beyond = self._beyond(vectors, defect) if columns < len(self.evals) else 0.0
        return TopSpace(vectors, self.evals[columns:].clamp(min=0), defect, beyond)

    def _beyond(self, vectors: Tensor, defect: float) -> float:
        """Prove x^T W^T W x <= s + slack for unit x orthogonal to V: a Cholesky factor of s I + V D V^T - W^T W exists.

        docs/reuse_bound.md derives every term of the slack.
        """
        n, q = vectors.shape
        weights = self.evals[:q].clamp(min=0)
        heavy = (1 + defect) * float(weights.sum())  # at least ||V sqrt(D)||_F^2

        def slack(s: float) -> float:
            entries = product_rounding(self._summed + 2) * self._frobenius_sq
            summed = product_rounding(q + 6) * (heavy + self._frobenius_sq + s)
            return (entries + summed + product_rounding(4 * n + 8) * (heavy + n * s)) * (1 + 1e-6)

        s = float(self.evals[q].clamp(min=0)) * (1 + _MARGIN)
        s += 4 * slack(s)
        gram = self._gram.T  # the lower triangle of this view is what the reflectors left alone
        gram.diagonal().copy_(self._diagonal)
        gram.neg_()
        add_gram((vectors * weights.sqrt()).T, gram)
        gram.diagonal().add_(s)
        if int(torch.linalg.cholesky_ex(gram).info):
            raise SolverError(f"top_space: nothing is proved of what is outside {q} vectors")
        return (s + slack(s)) * (1 + 1e-9)
