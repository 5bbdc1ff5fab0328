"""What is proved of the complement of the top vectors holds, whatever the vectors are."""

import pytest
import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers import numpy_blas
from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.solvers.top_space import TopSpaceSolver
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from tests.conftest import heavy, noise

pytestmark = pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")


def solver_of(w: Tensor) -> TopSpaceSolver:
    n = w.shape[1]
    gram = torch.zeros(n, n, dtype=torch.float64)
    add_gram(w, gram)
    return TopSpaceSolver(gram, frobenius_sq=float(w.square().sum()), summed=len(w))


def largest_outside(w: Tensor, vectors: Tensor) -> float:
    q = torch.linalg.qr(vectors).Q
    return float(torch.linalg.matrix_norm(w - (w @ q) @ q.T, 2)) ** 2


@pytest.mark.parametrize("columns", [1, 20, 299, 300])
@pytest.mark.parametrize("kind", ["noise", "heavy", "low rank", "plateau"])
def test_what_is_outside_is_bounded(columns: int, kind: str) -> None:
    w = heavy(400, 300, dtype=torch.float64) if kind == "heavy" else noise(400, 300, dtype=torch.float64)
    if kind == "low rank":
        w = w[:, :30] @ noise(30, 300, seed=1, dtype=torch.float64)
    if kind == "plateau":  # any vectors of equal eigenvalues will do
        w = torch.linalg.qr(w).Q
    solver = solver_of(w)
    assert solver.evals.tolist() == pytest.approx(
        (torch.linalg.svdvals(w) ** 2).tolist(), abs=1e-9 * float(solver.evals[0])
    )
    top = solver.top(columns)
    truth = largest_outside(w, top.vectors)
    scale = float(solver.evals[0])
    assert truth <= top.beyond + 1e-14 * scale and top.beyond <= truth * (1 + 2e-6) + 1e-9 * scale
    assert top.rest.shape == (300 - columns,) and bool((top.rest >= 0).all())


def test_vectors_that_miss_an_eigenvector_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong vectors, orthonormal as they may be, prove nothing."""
    found = Tridiagonal.vectors
    monkeypatch.setattr(Tridiagonal, "vectors", lambda form, count: found(form, count + 1)[:, 1:])
    with pytest.raises(SolverError, match="nothing is proved of what is outside 20 vectors"):
        solver_of(heavy(400, 300, dtype=torch.float64)).top(20)
