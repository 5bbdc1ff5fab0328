from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from alpha_callbacks.solvers import lanczos
from alpha_callbacks.solvers.gram_of_blocks import Blocks
from alpha_callbacks.solvers.lanczos import spectral_norm
from tests.conftest import DEVICE, noise, with_spectrum


def in_parts(blocks: Sequence[Tensor]) -> list[Blocks]:
    """Return the blocks as three parts, the last of which may be empty."""
    return [partial(iter, blocks[start::3]) for start in range(3)]


@pytest.mark.parametrize(
    "shape", [(600, 300), (300, 300), (600, 40), (1500, 300)]
)  # held, held, all eigenvalues, Gram matrix
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_equals_the_largest_singular_value(shape: tuple[int, int], scale: float) -> None:
    matrix = noise(*shape, dtype=torch.float32) / 6 * scale
    expected = float(torch.linalg.matrix_norm(matrix.double(), 2))
    found = spectral_norm(in_parts(matrix.to(DEVICE).split(64)), shape[1], rows=shape[0], device=DEVICE)
    assert found == pytest.approx(expected, rel=2e-5)


def test_columns_and_users_who_let_fp32_products_be_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks along columns, as of wide matrices, and through the fp64 Gram matrix: the same number."""
    matrix = noise(600, 300).to(DEVICE) / 6
    across = [part.T for part in matrix.T.contiguous().split(50, dim=1)]
    expected = spectral_norm(in_parts([matrix]), 300, rows=600, device=DEVICE)
    assert spectral_norm(in_parts(across), 300, rows=600, device=DEVICE) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(lanczos, "fp32_products_are_fp32", lambda on_cpu: False)
    assert spectral_norm(in_parts(across), 300, rows=600, device=DEVICE) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [20, 400])
def test_equal_largest_eigenvalues_low_rank_and_zero(n: int) -> None:
    evals = torch.ones(n, dtype=torch.float64)
    assert spectral_norm(
        in_parts([with_spectrum(evals, 500, n).to(DEVICE)]), n, rows=500, device=DEVICE
    ) == pytest.approx(1, rel=2e-5)
    thin = noise(500, 2) @ noise(2, n, seed=1) / 100
    expected = float(torch.linalg.matrix_norm(thin.double(), 2))
    assert spectral_norm(in_parts([thin.to(DEVICE)]), n, rows=500, device=DEVICE) == pytest.approx(expected, rel=2e-5)
    assert spectral_norm(in_parts([torch.zeros(10, n, device=DEVICE)]), n, rows=10, device=DEVICE) == 0


def test_the_random_state_of_the_process_is_left_alone() -> None:
    before = torch.get_rng_state()
    spectral_norm(in_parts([noise(500, 400).to(DEVICE) / 6]), 400, rows=500, device=DEVICE)
    assert torch.equal(torch.get_rng_state(), before)
