"""The record that every source yields."""

from dataclasses import replace

import pytest
import torch

from alpha_callbacks.weights import weight as weight_module
from tests.conftest import noise, weight_of


@pytest.mark.parametrize(("stored_dtype", "longest"), [("Q4_K", 128), ("nf4 cast to bfloat16", 128), ("float32", 300)])
def test_codes_are_decoded_some_rows_at_a_time(
    stored_dtype: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_module, "BLOCK_ELEMENTS", 128 * 20)
    w, read = noise(300, 20).bfloat16(), list[int]()

    def rows(start: int, stop: int) -> torch.Tensor:
        read.append(stop - start)
        return w[start:stop]

    held = replace(weight_of(w), stored_dtype=stored_dtype, rows=rows).held()
    assert max(read) == longest
    count = len(read)
    assert torch.equal(held.rows(0, 300), w) and torch.equal(held.rows(7, 130), w[7:130])
    assert len(read) == count
