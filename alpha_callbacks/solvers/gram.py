"""Products of a block with itself, of which half suffice."""

from typing import Any

import torch
from torch import Tensor

_LEAF = 256  # below this width the diagonal blocks of the Gram matrix are full products


def add_gram(block: Tensor, gram: Tensor) -> None:
    """Add block^T block to the lower triangle of gram, halving: about half the products of a full one.

    BLAS has this as ?syrk, which torch does not reach; a second BLAS would bring a second pool of spinning threads.
    """
    n = gram.shape[0]
    if n <= _LEAF:
        gram.addmm_(block.T, block)
        return
    half = _half(n)
    left, right = block[:, :half], block[:, half:]
    add_gram(left, gram[:half, :half])
    gram[half:, :half].addmm_(right.T, left)
    add_gram(right, gram[half:, half:])


def mirror(gram: Tensor) -> None:
    """Copy what `add_gram` has filled to the upper triangle."""
    n = gram.shape[0]
    if n <= _LEAF:  # a full product
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
