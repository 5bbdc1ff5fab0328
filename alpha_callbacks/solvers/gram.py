"""Products of a block with itself, of which half suffice."""

from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.solvers.numpy_blas import add_products, lines
from alpha_callbacks.solvers.rounding import symmetric
from alpha_callbacks.solvers.shortest_way import products_by_numpy

_LEAF = 256  # below this width the diagonal blocks of the Gram matrix are full products


def add_gram(block: Tensor, gram: Tensor) -> None:
    """Add block^T block to the lower triangle of gram: about half the products of a full one.

    By BLAS's ?syrk where NumPy's can be had and is faster; torch does not reach it, and halves.
    """
    n = gram.shape[0]
    on_cpu = gram.dtype is torch.float64 and gram.device.type == "cpu"
    if on_cpu and products_by_numpy(n) and lines(block) is not None:
        add_products(block, gram)
        return
    add_halving(block, gram)


def add_halving(block: Tensor, gram: Tensor) -> None:
    """Add the same by torch's products; what is above the diagonal of diagonal blocks is filled too."""
    n = gram.shape[0]
    if n <= _LEAF:
        gram.addmm_(block.T, block)
        return
    half = _half(n)
    left, right = block[:, :half], block[:, half:]
    add_halving(left, gram[:half, :half])
    gram[half:, :half].addmm_(right.T, left)
    add_halving(right, gram[half:, half:])


def mirror(gram: Tensor) -> None:
    """Copy what `add_gram` has filled to the upper triangle."""
    n = gram.shape[0]
    if n <= _LEAF:
        gram.copy_(symmetric(gram))
        return
    half = _half(n)
    gram[:half, half:] = gram[half:, :half].T
    mirror(gram[:half, :half])
    mirror(gram[half:, half:])


def _half(n: int) -> int:
    return -(-n // 2 // 64) * 64


def fp32_products_are_fp32(on_cpu: bool) -> bool:
    """Return False if the process lets fp32 products run in TF32 or bf16; that is the user's setting and stays."""
    backend: Any = torch.backends.mkldnn if on_cpu else torch.backends.cuda
    own = getattr(getattr(backend, "matmul", None), "fp32_precision", "none")  # torch < 2.9 has only the one below
    return torch.get_float32_matmul_precision() == "highest" and own in ("ieee", "none")
