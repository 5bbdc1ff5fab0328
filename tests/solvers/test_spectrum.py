from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis.solve import proof_of
from alpha_callbacks.errors import SolverError
from alpha_callbacks.estimators.estimator import StoredMatrix
from alpha_callbacks.estimators.hill import Hill, hill_alpha
from alpha_callbacks.solvers import shortest_way
from alpha_callbacks.solvers import spectrum as module
from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.solvers.spectrum import spectrum
from tests.conftest import DEVICE, heavy, noise, with_spectrum
from tests.support.fast_solver import fast_from


def solve(w: Tensor, *, solver: str = "exact", block: int = 100, k: int | None = None) -> module.Spectrum:
    w = (w if w.shape[0] >= w.shape[1] else w.T).to(DEVICE)

    def blocks() -> Iterator[Tensor]:
        return (w[i : i + block] for i in range(0, len(w), block))

    stored = StoredMatrix(*w.shape, eps=torch.finfo(w.dtype).eps, typical=float(w.abs().median()))
    hill = Hill() if k is None else Hill(k_frac=1e-9, k_min=k)

    def unresolved(evals: Tensor, frobenius_sq: float, rounding: module.Rounding) -> str:
        return hill.unresolved(evals, frobenius_sq, stored, rounding)

    return spectrum(
        [blocks], w.shape[1], unresolved=unresolved, absmax=float(w.abs().max()), solver=solver, device=DEVICE,
        proof=proof_of(hill, stored),
    )  # fmt: skip


@pytest.fixture
def small_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fast` solve by fp32 arithmetic what is too small to gain."""
    fast_from(128, monkeypatch)


def test_every_step_of_a_singular_value_solve_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits of a QR factorization depend on the number of threads."""
    steep = with_spectrum(torch.logspace(0, -15, 40, dtype=torch.float64), 300, 40)
    threads = list[int]()

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any, **options: Any) -> Any:
            threads.append(torch.get_num_threads())
            return real(*given, **options)

        return noting

    monkeypatch.setattr(torch.linalg, "qr", noted(torch.linalg.qr))
    monkeypatch.setattr(torch.linalg, "svdvals", noted(torch.linalg.svdvals))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = solve(steep, k=30)
    finally:
        torch.set_num_threads(before)
    assert found.solver == "svd_fp64" and set(threads) == {1}


@pytest.mark.parametrize("cores", [2, 16])
def test_on_many_cores_fast_is_exact_and_torch_solves(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls into NumPy's LAPACK wait for one another there; on few cores its values are torch's to rounding."""
    calls, real = list[int](), torch.linalg.eigvalsh

    def counted(gram: Tensor, UPLO: str) -> Tensor:
        calls.append(len(gram))
        return real(gram, UPLO=UPLO)

    monkeypatch.setattr(shortest_way, "machine_cores", lambda: cores)
    monkeypatch.setattr(shortest_way, "_MANY", 400)
    monkeypatch.setattr(torch.linalg, "eigvalsh", counted)
    w = heavy(500, 390)
    truth = torch.linalg.svdvals(w.double()) ** 2
    assert (solve(w).evals - truth).abs().max() < 1e-13 * truth[0]
    assert solve(heavy(500, 410), solver="fast").solver == ("gram_fp32" if cores == 2 and available() else "gram_fp64")
    assert calls == ([] if cores == 2 and available() else [390, 410])


@pytest.mark.parametrize("shape", [(300, 300), (700, 130), (130, 700), (513, 512), (65, 64), (20, 2)])
@pytest.mark.parametrize("maker", [noise, heavy])
def test_exact_equals_an_fp64_svd(shape: tuple[int, int], maker: object) -> None:
    w = maker(*shape)  # type: ignore[operator]
    result = solve(w, k=1)
    expected = torch.linalg.svdvals(w.double()) ** 2
    torch.testing.assert_close(result.evals, expected, rtol=1e-10, atol=1e-13 * float(expected[0]))
    assert result.frobenius_norm == pytest.approx(float(w.double().norm()), rel=1e-12)
    assert result.solver == "gram_fp64"


@pytest.mark.usefixtures("small_too")
@pytest.mark.skipif(DEVICE != "cpu", reason="fast is exact there")
@pytest.mark.parametrize("maker", [noise, heavy])
def test_fast_encloses_the_eigenvalues_of_an_fp64_svd(maker: Callable[..., Tensor]) -> None:
    w = maker(300, 200)
    result, truth = solve(w, solver="fast"), torch.linalg.svdvals(w.double()) ** 2
    assert result.solver == "gram_fp32" and result.enclosure is not None
    lower, upper = result.enclosure.lower, result.enclosure.upper
    assert len(lower) == 21 and bool((lower <= truth[:21]).all() and (truth[:21] <= upper).all())
    assert bool(((upper - lower) <= 1e-5 * truth[0]).all())
    assert hill_alpha(result.evals, k=20).alpha == pytest.approx(hill_alpha(truth, k=20).alpha, rel=1e-6)


def test_fast_is_exact_where_it_would_take_longer() -> None:
    w = heavy(300, 200)
    result, truth = solve(w, solver="fast"), solve(w)
    assert result.solver == "gram_fp64" and torch.equal(result.evals, truth.evals)


def test_does_not_depend_on_blocks() -> None:
    w = noise(500, 90)
    torch.testing.assert_close(solve(w, block=7).evals, solve(w, block=500).evals, rtol=1e-12, atol=0)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e8, 1e10, 1e12])
def test_gram_gives_way_to_svd_where_it_cannot_resolve_the_threshold(condition: float) -> None:
    """Eigenvalue k + 1 is 1 / condition^2 of the largest: the Gram matrix loses it from about 1e6 on."""
    evals = torch.logspace(0, -2 * torch.log10(torch.tensor(condition)).item(), 60, dtype=torch.float64)
    w = with_spectrum(evals, 80, 60)
    result = solve(w, k=50)
    alpha = hill_alpha(result.evals, k=50).alpha
    truth = hill_alpha(torch.linalg.svdvals(w) ** 2, k=50).alpha
    assert alpha == pytest.approx(truth, rel=1e-9)
    assert result.solver == ("gram_fp64" if condition <= 1e2 else result.solver)
    assert condition < 1e6 or result.solver == "svd_fp64"


@pytest.mark.usefixtures("small_too")
def test_fast_gives_way_to_exact() -> None:
    evals = torch.logspace(0, -6, 160, dtype=torch.float64)
    assert solve(with_spectrum(evals, 180, 160), solver="fast", k=130).solver != "gram_fp32"


@pytest.mark.usefixtures("small_too")
@pytest.mark.parametrize("kind", ["small", "flat", "spikes"])
def test_what_fp32_is_not_good_for_is_solved_in_fp64(kind: str) -> None:
    n = 11 if kind == "small" else 160
    values = 1 + torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if kind == "flat":  # nearly orthogonal
        values = 1 + 1e-2 * values
    if kind == "spikes":  # more than the steps that are made in fp64
        values[:9] *= torch.logspace(5, 6, 9, dtype=torch.float64)
    w = with_spectrum(values.sort(descending=True).values, n, n)
    k = min(16, n - 1)
    result, truth = solve(w, solver="fast", k=k), solve(w, k=k)
    assert result.solver == truth.solver == "gram_fp64" and result.accuracy == 0
    assert result.evals.tolist() == truth.evals.tolist()


@pytest.mark.usefixtures("small_too")
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e8, 1e30])
@pytest.mark.parametrize("solver", ["exact", "fast"])
def test_squares_do_not_leave_the_range(scale: float, solver: str) -> None:
    w = heavy(300, 200, dtype=torch.float64)
    a, b = solve(w, solver=solver), solve(w * scale, solver=solver)
    assert hill_alpha(b.evals, k=20).alpha == pytest.approx(hill_alpha(a.evals, k=20).alpha, rel=1e-5)
    assert b.solver == a.solver
    assert b.frobenius_norm == pytest.approx(a.frobenius_norm * scale, rel=1e-6)


@pytest.mark.usefixtures("small_too")
def test_users_settings_change_nothing_and_are_left_alone() -> None:
    w = heavy(256, 200)
    expected = solve(w, solver="fast").evals, solve(w).evals
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            got = solve(w, solver="fast").evals, solve(w).evals
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


@pytest.mark.usefixtures("small_too")
def test_fast_does_not_use_reduced_fp32_products() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        result = solve(heavy(256, 200), solver="fast")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert result.solver == "gram_fp64"


def test_wrong_eigenvalues_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that returns finite nonsense (as CUDA's SVD was seen to) is not believed."""
    real = torch.linalg.eigvalsh
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda gram, UPLO: real(gram, UPLO=UPLO) * 1.001)
    assert solve(noise(200, 100)).solver == "svd_fp64"


def test_no_convergence_falls_through_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> Tensor:
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigvalsh", fail)
    assert solve(noise(200, 100)).solver == "svd_fp64"
    monkeypatch.setattr(torch.linalg, "svdvals", fail)
    with pytest.raises(SolverError, match="gram_fp64 on cpu: did not converge; svd_fp64 on cpu: did not converge"):
        solve(noise(200, 100))
