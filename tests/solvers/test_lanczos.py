import pytest
import torch

from alpha_callbacks.solvers.lanczos import spectral_norm
from tests.conftest import DEVICE, noise, with_spectrum


@pytest.mark.parametrize("shape", [(700, 300), (300, 300), (600, 40), (900, 500)])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_equals_the_largest_singular_value(shape: tuple[int, int], scale: float) -> None:
    matrix = noise(*shape, dtype=torch.float32) / 6 * scale
    expected = float(torch.linalg.matrix_norm(matrix.double(), 2))
    assert spectral_norm(iter(matrix.to(DEVICE).split(64)), shape[1], device=DEVICE) == pytest.approx(
        expected, rel=2e-5
    )


@pytest.mark.parametrize("n", [20, 400])
def test_equal_largest_eigenvalues_low_rank_and_zero(n: int) -> None:
    evals = torch.ones(n, dtype=torch.float64)
    assert spectral_norm(iter([with_spectrum(evals, 500, n).to(DEVICE)]), n, device=DEVICE) == pytest.approx(
        1, rel=2e-5
    )
    thin = noise(500, 2) @ noise(2, n, seed=1) / 100
    expected = float(torch.linalg.matrix_norm(thin.double(), 2))
    assert spectral_norm(iter([thin.to(DEVICE)]), n, device=DEVICE) == pytest.approx(expected, rel=2e-5)
    assert spectral_norm(iter([torch.zeros(10, n, device=DEVICE)]), n, device=DEVICE) == 0


def test_the_random_state_of_the_process_is_left_alone() -> None:
    before = torch.get_rng_state()
    spectral_norm(iter([noise(500, 400).to(DEVICE) / 6]), 400, device=DEVICE)
    assert torch.equal(torch.get_rng_state(), before)
