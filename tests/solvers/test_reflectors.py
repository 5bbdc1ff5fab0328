import pytest
import torch

from alpha_callbacks.solvers import reflectors
from alpha_callbacks.solvers.reflectors import ReflectorBlock


@pytest.mark.parametrize("chunk", [1024, 16])
@pytest.mark.parametrize("none", [False, True])
def test_a_block_is_the_product_of_its_reflectors(chunk: int, none: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflectors, "_CHUNK", chunk)
    vectors = torch.randn(5, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors[2] *= 0 if none else 1
    expected = torch.eye(70, dtype=torch.float64)
    for v in vectors:
        expected @= torch.eye(70, dtype=torch.float64) - torch.outer(v, v) * (2 / (v @ v) if bool(v.any()) else 0)
    block, found = ReflectorBlock(vectors), [torch.eye(70, dtype=torch.float64) for _ in range(2)]
    block.apply(found[0], transposed=True)  # of the rows, which are those of the identity: H^T e_i, along row i
    block.apply(found[1], transposed=False)
    for got, true in ((found[0], expected), (found[1], expected.T)):
        assert float((got - true).norm()) <= 1e-13
        off = float(torch.linalg.matrix_norm(got @ got.T - torch.eye(70, dtype=torch.float64), 2))
        assert off <= block.defect + 2 * block.rounding
    assert block.defect < 1e-11 and block.rounding < 1e-11


def test_what_is_beyond_the_vectors_is_left_alone() -> None:
    block, x = ReflectorBlock(torch.ones(1, 3, dtype=torch.float64)), torch.arange(10.0, dtype=torch.float64)[None]
    block.apply(x, transposed=False)
    assert x[0, 3:].tolist() == list(range(3, 10)) and x[0, :3].tolist() == pytest.approx([-2, -1, 0])
