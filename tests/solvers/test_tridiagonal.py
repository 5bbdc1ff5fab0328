import pytest
import torch

from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from tests.conftest import noise

pytestmark = pytest.mark.skipif(not available(), reason="NumPy's build hides its LAPACK")


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
