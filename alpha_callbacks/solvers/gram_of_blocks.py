"""Blocks of a matrix, converted one by one -> their Gram matrix."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.utils.crew import in_order

Blocks = Callable[[], Iterator[Tensor]]

_SAFE_EXPONENT = {
    torch.float32: 40,
    torch.float64: 400,
}  # |log2 max|w|| up to which squares neither over- nor underflow


def safe_shift(absmax: float, dtype: torch.dtype) -> int:
    """Return the power of two that entries are multiplied by so that their squares stay in the range of a dtype."""
    exponent = math.frexp(absmax)[1]
    return 0 if abs(exponent) <= _SAFE_EXPONENT[dtype] else -exponent


class ScaledBlocks:
    """The blocks of one part as they are multiplied; their squares and rows are added up on the way."""

    def __init__(self, blocks: Blocks, dtype: torch.dtype, device: str, shift: int) -> None:
        """Take what returns a fresh iterator over blocks, and multiply them by 2^shift in a dtype, on a device."""
        self._blocks, self._dtype, self._device, self._shift = blocks, dtype, device, shift
        self.squares, self.rows = 0.0, 0

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the blocks; each is overwritten by the next."""
        store = torch.empty(0, dtype=self._dtype, device=self._device)
        for raw in self._blocks():
            if raw.numel() > store.numel():
                store = torch.empty(raw.numel(), dtype=self._dtype, device=self._device)
            # One array for all blocks: fresh ones cost more in page faults than the conversion. Its layout follows the
            # raw block's, so that the copy runs along memory.
            flat = store[: raw.numel()]
            block = flat.view(raw.shape) if raw.is_contiguous() else flat.view(raw.T.shape).T
            block.copy_(raw)
            if self._shift:
                block.mul_(2.0**self._shift)
            self.squares += _sum_of_squares(block)
            self.rows += len(block)
            yield block


def _sum_of_squares(block: Tensor) -> float:
    """Return ||block||_F^2: line by line in the block's own dtype, lines in fp64."""
    along = 1 if block.stride(1) == 1 else 0
    lines: Tensor = torch.linalg.vector_norm(block, dim=along)
    return float(lines.double().square_().sum())


def gram_of(parts: Sequence[Iterable[Tensor]], n: int, dtype: torch.dtype, device: str) -> Tensor:
    """Return the Gram matrix of all parts; its lower triangle is filled."""

    def of_part(part: Iterable[Tensor]) -> Tensor:
        gram = torch.zeros(n, n, dtype=dtype, device=device)
        with torch.autocast(gram.device.type, enabled=False), torch.inference_mode(False), torch.no_grad():
            for block in part:
                add_gram(block, gram)
        return gram

    tasks = [partial(of_part, part) for part in parts]
    grams = in_order(tasks) if torch.device(device).type == "cpu" else (task() for task in tasks)
    total = next(grams)
    for gram in grams:
        total += gram
        del gram  # before the next one is made
    return total
