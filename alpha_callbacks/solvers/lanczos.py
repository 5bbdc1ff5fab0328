"""The spectral norm of a matrix in blocks, by Lanczos: a few products with vectors where eigenvalues take n."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram import fp32_products_are_fp32
from alpha_callbacks.solvers.gram_of_blocks import Blocks, gram_of
from alpha_callbacks.utils.one_thread import one_thread

_SMALL = 256  # below this all eigenvalues are quicker
_TOLERANCE = 1e-4  # relative residual of ||E||_2^2
_CHECK_EVERY = 8
_TALL = 4  # rows per column up to which it is held: a third of the time of a Gram matrix, and two of its size in fp64
_SEED = 0


def spectral_norm(parts: Sequence[Blocks], n: int, *, rows: int, device: str) -> float:
    """Return ||B||_2, B the blocks of all parts stacked, good to four digits.

    Args:
        parts: each returns an iterator over blocks of shape (b, n), n the short side, entries of size 1 or less.
            Threads that are free help with parts other than the first, on the CPU.
        n: columns.
        rows: of all parts together.
        device: where the blocks are.
    """
    single = fp32_products_are_fp32(torch.device(device).type == "cpu")
    with torch.autocast(torch.device(device).type, enabled=False), torch.inference_mode(False), torch.no_grad():
        if n > _SMALL and single and rows <= _TALL * n:
            held = [block.float() for part in parts for block in part()]
            with one_thread():  # the bits of a product with a vector may depend on their number
                largest = _largest_eigenvalue(lambda v: _gram_times(held, v), n, device)
            return math.sqrt(max(largest, 0.0))
        dtype = torch.float32 if n > _SMALL and single else torch.float64
        gram = gram_of([_in_dtype(part, dtype) for part in parts], n, dtype, device)
        gram = gram.tril() + gram.tril(-1).T  # the product fills the lower triangle, and some of the upper one
        if n <= _SMALL:
            largest = torch.linalg.eigvalsh(gram)[-1].item()
        else:
            largest = _largest_eigenvalue(lambda v: gram @ v.to(dtype), n, device)
    return math.sqrt(max(largest, 0.0))


def _in_dtype(part: Blocks, dtype: torch.dtype) -> Iterator[Tensor]:
    for block in part():
        yield block.to(dtype)


def _gram_times(blocks: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Return B^T B v."""
    total = torch.zeros_like(vector)
    for block in blocks:
        total += block.T @ (block @ vector)
    return total


def _largest_eigenvalue(apply: Callable[[Tensor], Tensor], n: int, device: str) -> float:
    """Return the largest eigenvalue of a positive semidefinite n x n matrix: Lanczos with full reorthogonalization.

    The residual of a Ritz pair bounds its distance from an eigenvalue; from a random start that one is the largest.

    Source: Parlett, The Symmetric Eigenvalue Problem, chapter 13.
    """
    start = torch.randn(n, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    basis = (start / start.norm()).to(device=device, dtype=torch.float32)[None]
    diagonal, off = list[float](), list[float]()
    while True:
        product = apply(basis[-1]).float()
        diagonal.append(float(product @ basis[-1]))
        for _ in range(2):  # once is not enough in fp32
            product -= basis.T @ (basis @ product)
        off.append(float(product.norm()))
        steps = len(diagonal)
        if steps % _CHECK_EVERY == 0 or steps == n or off[-1] <= _TOLERANCE * max(diagonal):
            side = torch.tensor(off[:-1], dtype=torch.float64)
            inner = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(side, 1) + torch.diag(side, -1)
            values, vectors = torch.linalg.eigh(inner)
            if steps == n or off[-1] * abs(float(vectors[-1, -1])) <= _TOLERANCE * float(values[-1]):
                return float(values[-1])
        basis = torch.cat([basis, (product / off[-1])[None]])
