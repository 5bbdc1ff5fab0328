import pytest
import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers import single_reduction as module
from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.solvers.single_reduction import SingleReduction
from alpha_callbacks.solvers.tridiagonal import tridiagonal_eigenvalues
from tests.conftest import noise, with_spectrum

pytestmark = pytest.mark.skipif(not available(), reason="NumPy's LAPACK is hidden")


def gram(w: Tensor) -> Tensor:
    return (w.T @ w).float().contiguous()


def dense(form: SingleReduction, n: int) -> Tensor:
    return form.times(torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("n", [30, 64, 65, 150])
def test_the_product_has_the_eigenvalues_of_its_tridiagonal_form(n: int) -> None:
    g = gram(noise(200, n).double())
    form = SingleReduction(g.clone())
    product, (values, within) = dense(form, n), form.values(n)
    expected = torch.linalg.eigvalsh((product + product.T) / 2).flip(0)
    off = within + form.rounding * n**0.5 + form.defect * float(values[0])
    assert float((values - expected).abs().max()) <= off < 1e-8 * float(values[0])
    assert float((product - g.double()).norm()) <= 1e-5 * float(values[0])
    assert form.defect < 1e-8


def test_spikes_do_not_spoil_what_is_below_them() -> None:
    """The first steps are made in fp64: what is left to fp32 has the size of the rest."""
    evals = torch.cat([torch.tensor([1e5, 3e4], dtype=torch.float64), torch.linspace(2, 1, 118, dtype=torch.float64)])
    g = with_spectrum(evals, 120, 120)
    g = (g.T @ g).float()
    exact = torch.linalg.eigvalsh(g.double()).flip(0)
    found, _ = SingleReduction(g.clone()).values(20)
    alone = torch.linalg.eigvalsh(g).double().flip(0)
    assert float((found - exact)[2:20].abs().max()) < 0.05 * float((alone - exact)[2:20].abs().max())


@pytest.mark.parametrize("kind", ["diagonal", "three values", "zero but for one"])
def test_an_invariant_space_ends_nothing(kind: str) -> None:
    values = {
        "diagonal": torch.linspace(1, 2, 40),
        "three values": torch.arange(40) % 3 + 1.0,
        "zero but for one": torch.eye(40)[0],
    }[kind]
    form = SingleReduction(torch.diag(values).contiguous())
    found, within = form.values(40)
    assert float((found - values.double().sort(descending=True).values).abs().max()) <= within + 1e-5
    assert float((dense(form, 40) - torch.diag(values).double()).norm()) < 1e-5


def test_wrong_eigenvalues_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    form = SingleReduction(gram(noise(60, 40)))
    monkeypatch.setattr(module, "tridiagonal_eigenvalues", lambda *of: tridiagonal_eigenvalues(*of) * (1 + 1e-9))
    with pytest.raises(SolverError, match="not where they were said to be"):
        form.values(10)
