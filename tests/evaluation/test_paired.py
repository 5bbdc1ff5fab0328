import math

import pytest
import torch

from alpha_callbacks.evaluation.paired import paired_difference, student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 7, 15, 31])
@pytest.mark.parametrize("share", [0.9, 0.975, 0.995])
def test_quantiles_of_student(share: float, freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    exact = stats.t.ppf(share, freedom)
    close = 1e-12 if freedom < 3 else 0.01 if share < 0.99 else 0.05
    assert student_quantile(share, freedom) == pytest.approx(exact, rel=close)


def test_the_interval_holds_the_truth_where_neighbours_are_alike() -> None:
    """Tokens of a passage are correlated; an interval over single tokens would hold the truth in half the cases."""
    generator, held, naive = torch.Generator().manual_seed(0), 0, 0
    for _ in range(200):
        passages = torch.randn(256, generator=generator).repeat_interleave(8)
        noise = passages + 0.5 * torch.randn(2048, generator=generator)
        other = torch.rand(2048, generator=generator)
        found = paired_difference(other + noise + 0.1, other)
        held += found.low <= 0.1 <= found.high
        half = 1.96 * float(noise.std()) / math.sqrt(2048)
        naive += abs(found.mean - 0.1) <= half
    assert 180 <= held <= 200 and naive < 160


def test_few_tokens_have_no_interval() -> None:
    found = paired_difference(torch.ones(20), torch.zeros(20))
    assert found.mean == 1 and math.isnan(found.low) and not found.resolved
    assert paired_difference(torch.rand(64) + 2, torch.rand(64)).resolved
