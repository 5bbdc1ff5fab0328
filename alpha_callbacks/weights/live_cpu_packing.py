"""bitsandbytes on CPUs with AVX512-BF16 repacks 4-bit weights when a module first runs: back to the order of files.

Rows come in blocks of 32. Of a pair of columns, the 64 codes of a block are stored as 32 bytes: the first 32 codes in
the low halves, the others in the high halves. Scales are transposed and rounded to bfloat16.

Source: bitsandbytes, functional.py, `_convert_weight_packed_for_cpu`.
"""

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_tensor import StoredTensor

_BLOCK_ROWS = 32


def cpu_packed_codes(name: str, packed: Tensor) -> StoredTensor:
    """Return codes as a file holds them, two in a byte, row after row.

    Args:
        name: parameter path.
        packed: uint8, shape (rows, columns / 2).
    """
    width = packed.shape[1]  # bytes of a row, in either order

    def read(start: int, stop: int) -> Tensor:
        first = start // width // _BLOCK_ROWS
        last = -(-stop // (width * _BLOCK_ROWS))
        blocks = packed.detach()[first * _BLOCK_ROWS : last * _BLOCK_ROWS].reshape(-1, width, _BLOCK_ROWS)
        codes = torch.cat((blocks & 15, blocks >> 4), dim=-1).unflatten(-1, (_BLOCK_ROWS, 2)).transpose(1, 2)
        stream: Tensor = (codes[..., 0] << 4 | codes[..., 1]).flatten()
        offset = first * _BLOCK_ROWS * width
        return stream[start - offset : stop - offset, None]

    return StoredTensor(name, (packed.numel(), 1), None, "uint8", read)


def cpu_packed_scales(name: str, packed: Tensor) -> StoredTensor:
    """Return scales in the order of files, row after row; `packed` has the shape (blocks of a row, rows)."""

    def read(start: int, stop: int) -> Tensor:
        return packed.detach().T.flatten()[start:stop]

    return StoredTensor(name, (packed.numel(),), packed.dtype, str(packed.dtype).removeprefix("torch."), read)
