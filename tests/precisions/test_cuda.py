"""Round trips on a CUDA device are those of the CPU, bit for bit. Run by hand where there is one: -m cuda."""

import pytest
import torch

from alpha_callbacks.precisions.precision import Precision
from tests.conftest import heavy, noise
from tests.precisions.test_format_laws import EVERY, through

pytestmark = pytest.mark.cuda


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_bit_is_that_of_the_cpu(precision: Precision, dtype: torch.dtype) -> None:
    for w in (noise(300, 1024), heavy(512, 256), noise(64, 128) * 1e-30, noise(64, 128) * 1e4, torch.zeros(16, 256)):
        w = w.to(dtype)
        assert torch.equal(through(precision, w.cuda()).cpu(), through(precision, w))
