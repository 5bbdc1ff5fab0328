import os
import threading
import time

import numpy as np
import pytest
import torch

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers import gram, numpy_blas
from alpha_callbacks.solvers.gram import add_gram, mirror
from alpha_callbacks.solvers.shortest_way import products_by_numpy
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from tests.conftest import noise

pytestmark = pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("along", ["rows", "columns", "wider rows"])
@pytest.mark.parametrize(("b", "n"), [(1, 1), (1, 130), (7, 300), (600, 129), (300, 300)])
def test_products_are_those_of_numpy_and_come_on_top(b: int, n: int, along: str, turned: bool) -> None:
    block = noise(b, n, dtype=torch.float64)
    if along == "columns":
        block = block.T.contiguous().T
    if along == "wider rows":
        block = torch.cat([block, torch.full((b, 3), torch.nan)], dim=1)[:, :n]
    above = torch.ones(n, n).triu(1).bool()
    found = torch.full((n, n), 5.0, dtype=torch.float64).masked_fill(above, torch.nan)
    if turned:
        found = found.T.contiguous().T
    numpy_blas.add_products(block, found)
    assert bool(found[above].isnan().all())
    expected = 5 + np.einsum("ki,kj->ij", block.numpy(), block.numpy())
    np.testing.assert_allclose(found.numpy()[~above.numpy()], expected[~above.numpy()], rtol=0, atol=1e-14 * b)


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float64, 1e-15), (torch.float32, 1e-6)])
@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize("n", [1, 100, 130, 700])
def test_any_machine_fills_the_lower_triangle_and_mirrors_it(
    n: int, cores: int, dtype: torch.dtype, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_callbacks.solvers.shortest_way.machine_cores", lambda: cores)
    called = list[int]()

    def noted(block: torch.Tensor, onto: torch.Tensor) -> None:
        called.append(1)
        numpy_blas.add_products(block, onto)

    monkeypatch.setattr(gram, "add_products", noted)
    first, second = noise(40, n, seed=1, dtype=dtype), noise(60, n, seed=2, dtype=dtype).T.contiguous().T
    found = torch.zeros(n, n, dtype=dtype)
    add_gram(first, found)
    add_gram(second, found)
    mirror(found)
    expected = first.double().T @ first.double() + second.double().T @ second.double()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=eps * 100 * float(expected.diagonal().max()))
    assert (
        bool(called)
        == (cores == 2 and n >= 128 and dtype is torch.float64)
        == (dtype is torch.float64 and products_by_numpy(n))
    )


@pytest.mark.parametrize("n", [1, 127, 128, 129])
@pytest.mark.parametrize(
    "kind", ["a row cut from columns", "equal rows", "equal columns", "rows that overlap", "empty"]
)
def test_blocks_whose_lines_overlap_are_multiplied_too(
    n: int, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """BLAS prints a line and does nothing where a line is said to be shorter than it is."""
    monkeypatch.setattr("alpha_callbacks.solvers.shortest_way.machine_cores", lambda: 2)
    block = {
        "a row cut from columns": noise(n, 1, dtype=torch.float64).T,
        "equal rows": noise(1, n, dtype=torch.float64).expand(5, n),
        "equal columns": noise(5, 1, dtype=torch.float64).expand(5, n),
        "rows that overlap": noise(1, n + 20, dtype=torch.float64)[0].unfold(0, n, 1),
        "empty": torch.zeros(n, 0, dtype=torch.float64).T,
    }[kind]
    found = torch.zeros(n, n, dtype=torch.float64)
    add_gram(block, found)
    expected = np.tril(block.numpy().T @ block.numpy())
    np.testing.assert_allclose(found.tril().numpy(), expected, rtol=0, atol=1e-13)
    assert capfd.readouterr() == ("", "")


def test_a_routine_that_fails_says_so() -> None:
    with pytest.raises(SolverError, match="LAPACK, values: expected info = 0, got -1"):
        numpy_blas.call("values", -1, torch.zeros(1), torch.zeros(1))


def test_a_build_that_hides_its_lapack_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy_blas._openblas.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("ctypes.CDLL", lambda path: object())
        assert not numpy_blas.available()
    numpy_blas._openblas.cache_clear()
    assert numpy_blas.available()


def test_other_threads_run_while_it_solves_and_the_threads_of_blas_are_put_back() -> None:
    library = numpy_blas._openblas()
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("where", ["as a thread comes or goes", "while a thread solves"])
def test_a_process_forked_beside_a_solve_can_solve_with_the_threads_it_had(where: str) -> None:
    library = numpy_blas._openblas()
    assert library is not None
    before = library.get_threads()
    library.set_threads(2)
    inside, leave = threading.Event(), threading.Event()

    def solve() -> None:
        with numpy_blas._TURN if where == "as a thread comes or goes" else numpy_blas._one_thread(library):
            inside.set()
            leave.wait(0.2)

    worker = threading.Thread(target=solve)
    worker.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        free = numpy_blas._TURN.acquire(blocking=False)
        os._exit(0 if free and not numpy_blas._users and library.get_threads() == 2 else 1)
    leave.set()
    worker.join()
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert library.get_threads() == 2
    finally:
        library.set_threads(before)
