"""Orthogonal matrices have no tail, whatever arithmetic made them; what is far enough from one has."""

import math

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.estimators.hill import FLATTEST
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise, weight_of

SHAPES = [(32, 32), (64, 64), (256, 256), (256, 64), (64, 256), (512, 768)]


def rows(matrix: Tensor) -> list[tuple[str, float]]:
    found = analyze_weight(weight_of(matrix.detach()), AnalysisOptions(precisions=("fp32", "fp16", "bf16")))
    return [(row.status, row.alpha / row.alpha_null) for row in found]


def initialised(shape: tuple[int, int], seed: int) -> Tensor:
    torch.manual_seed(seed)
    return nn.init.orthogonal_(torch.empty(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_orthogonal_initialisation_has_no_alpha(shape: tuple[int, int], seed: int) -> None:
    assert [status for status, _ in rows(initialised(shape, seed))] == 3 * ["degenerate"]


@pytest.mark.parametrize("epsilon", [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
def test_what_is_near_one(epsilon: float) -> None:
    """Q + epsilon * noise: one outcome per distance, and never an alpha beyond the bound."""
    q = initialised((256, 256), 0)
    found = rows(q + epsilon * noise(256, 256, seed=1) / 16)
    for status, ratio in found:
        assert (status == "degenerate" and math.isnan(ratio)) or (status == "ok" and 0.5 < ratio < FLATTEST)
    assert found[0][0] == ("ok" if epsilon >= 1e-2 else "degenerate")


def newton_schulz(update: Tensor) -> Tensor:
    """Return what Muon does to an update, with its usual coefficients: singular values near 1, not at it."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update / update.norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def test_an_update_of_muon_has_a_tail() -> None:
    assert all(status == "ok" and ratio < 10 for status, ratio in rows(newton_schulz(noise(256, 256))))


def test_a_layer_trained_from_an_orthogonal_start_gets_its_alpha_back() -> None:
    layer = nn.Linear(64, 64, bias=False)
    nn.init.orthogonal_(layer.weight)
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    y = x @ torch.randn(64, 64) / 8
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(x), y, reduction="sum").div(512).backward()
        optimizer.step()
    assert all(status == "ok" and ratio < 3 for status, ratio in rows(layer.weight))


def test_a_layer_under_spectral_norm_has_the_alpha_of_its_direction() -> None:
    plain = nn.Linear(96, 96, bias=False)
    (was, expected), *_ = rows(plain.weight)
    (status, ratio), *_ = rows(nn.utils.parametrizations.spectral_norm(plain).weight)
    assert status == was == "ok" and ratio == pytest.approx(expected, rel=1e-5)
