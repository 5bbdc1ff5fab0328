"""The spectral norm of a streamed matrix, by Lanczos on its Gram matrix: a few products where eigenvalues take n."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram import add_gram, fp32_products_are_fp32

_SMALL = 256  # below this all eigenvalues are quicker
_TOLERANCE = 1e-4  # relative residual of ||E||_2^2
_CHECK_EVERY = 8
_SEED = 0


def spectral_norm(blocks: Iterator[Tensor], n: int, *, device: str) -> float:
    """Return ||B||_2 of the stacked blocks, good to four digits.

    Args:
        blocks: shape (b, n) each, n the short side, entries of size 1 or less.
        n: columns.
        device: where the blocks are.
    """
    exact = n <= _SMALL or not fp32_products_are_fp32(torch.device(device).type == "cpu")
    gram = torch.zeros(n, n, dtype=torch.float64 if exact else torch.float32, device=device)
    with torch.autocast(torch.device(device).type, enabled=False), torch.inference_mode(False), torch.no_grad():
        for block in blocks:
            add_gram(block.to(gram.dtype), gram)
        gram = gram.tril() + gram.tril(-1).T  # the product fills the lower triangle, and some of the upper one
        largest = torch.linalg.eigvalsh(gram)[-1].item() if n <= _SMALL else _largest_eigenvalue(gram)
    return math.sqrt(max(largest, 0.0))


def _largest_eigenvalue(gram: Tensor) -> float:
    """Return the largest eigenvalue of a positive semidefinite matrix, by Lanczos with full reorthogonalization.

    The residual of a Ritz pair bounds its distance from an eigenvalue; from a random start that one is the largest.

    Source: Parlett, The Symmetric Eigenvalue Problem, chapter 13.
    """
    n = len(gram)
    start = torch.randn(n, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    basis = (start / start.norm()).to(gram)[None]
    diagonal, off = list[float](), list[float]()
    while True:
        product = gram @ basis[-1]
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
