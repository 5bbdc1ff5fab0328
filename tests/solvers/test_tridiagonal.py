import threading
import time

import pytest
import torch

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers import tridiagonal
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from tests.conftest import noise

pytestmark = pytest.mark.skipif(not tridiagonal.available(), reason="NumPy's build hides its LAPACK")


@pytest.mark.parametrize("n", [2, 5, 90])
def test_equals_all_eigenvectors_of_torch(n: int) -> None:
    w = noise(2 * n, n, dtype=torch.float64)
    gram, count = w.T @ w, max(1, n // 4)
    lower = torch.where(torch.ones(n, n).tril().bool(), gram, torch.nan)
    form = Tridiagonal(lower)
    assert bool(lower.triu(1).isnan()[torch.ones(n, n).triu(1).bool()].all())  # what is above stays
    values = form.values().flip(0)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(gram).flip(0), rtol=1e-12, atol=0)
    vectors, size = form.vectors(count), 1e-13 * n * float(values[0])
    torch.testing.assert_close(gram @ vectors, vectors * values[:count], rtol=0, atol=size)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-13 * n)


def test_a_routine_that_fails_says_so() -> None:
    with pytest.raises(SolverError, match="LAPACK, values: expected info = 0, got -1"):
        tridiagonal._call("values", -1, torch.zeros(1), torch.zeros(1))


def test_a_build_that_hides_its_lapack_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tridiagonal._lapack.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("ctypes.CDLL", lambda path: object())
        assert not tridiagonal.available()
    tridiagonal._lapack.cache_clear()
    assert tridiagonal.available()


def test_other_threads_run_while_it_solves_and_the_threads_of_blas_are_put_back() -> None:
    library = tridiagonal._lapack()
    assert library is not None
    before = library.get_threads()
    gram = noise(700, 700, dtype=torch.float64)
    worker = threading.Thread(target=lambda: Tridiagonal(gram + gram.T))
    worker.start()
    turns = 0
    while worker.is_alive():
        turns += 1
        time.sleep(0.0005)
    assert turns > 5
    assert library.get_threads() == before
