"""A proved bound of ||W^T W - A||_2 for a symmetric A, from a few products with random vectors, in fp64."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram_of_blocks import Blocks
from alpha_callbacks.solvers.rounding import product_rounding
from alpha_callbacks.utils.crew import in_order
from alpha_callbacks.utils.one_thread import one_thread

_PROBES = 16
_STEPS, _MOST = 3, 6  # products; more of them where these prove too little, and more may do
_HOPE = 0.6  # of a bound is what three more products may leave of it
# Another one than of anything that A depends on, weights included: the probes must know nothing of it, and who draws
# weights takes 0, 1 or 42. It is the fraction of the root of 2, in the 32 bits that the generator takes.
_SEED = 0x6A09E667
_CHANCE = 1e-13  # that a bound is too small, for each matrix, over the draw of the probes
# P(chi-squared of p degrees < x) <= (x / 2)^(p / 2) / (p / 2)!
_LEAST = 2 * (_CHANCE * math.factorial(_PROBES // 2)) ** (2 / _PROBES)
_PIECE = 2**18  # elements of W in fp64 at a time: they stay in the cache from one product to the next


def gram_error(
    parts: Sequence[Blocks],
    n: int,
    times: Callable[[Tensor], Tensor],
    *,
    shift: int,
    rounding: float,
    enough: Callable[[float], bool] = lambda _: True,
) -> tuple[float, float]:
    """Return (t, ||W||_F^2), ||W^T W - A||_2 <= t but for a chance of 1e-13 over the probes, rounding included.

    With E = W^T W - A and G of p columns of independent standard normal numbers, ||E^q G||_F^2 >= ||E||_2^(2 q) c, c
    a chi-squared number of p degrees of freedom: the part of G along one eigenvector (docs/fast_bound.md).

    Args:
        parts: each returns a fresh iterator over blocks of W, shape (b, n), on the CPU.
        n: columns.
        times: returns A x for the rows of x, shape (p, n), float64.
        shift: W is multiplied by this power of two.
        rounding: ||fl(A x) - A x||_F / ||x||_F is at most this.
        enough: says whether a bound serves its purpose. Where three products do not reach it, up to six are made.
    """
    frobenius_sq = math.nan
    x = torch.randn(_PROBES, n, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    sizes, best, off = [_norm(x)], math.inf, math.nan
    for step in range(1, _MOST + 1):
        product, squares, rows = _gram_times(parts, x, shift)
        with one_thread():
            x = product - times(x)
        if step == 1:
            frobenius_sq, off = squares, (product_rounding(rows + n + 4) * squares + rounding) * (1 + 1e-6)
        sizes.append(_norm(x))
        best = min(best, _largest(sizes, off))
        if step >= _STEPS and (enough(best) or not enough(best * _HOPE)):
            break
    return best, frobenius_sq


def _largest(sizes: Sequence[float], off: float) -> float:
    """Return the largest t with t^q sqrt(c) <= ||Y_q|| + sum over j of t^(q - j) off ||Y_(j-1)||, Y_j as computed."""
    q = len(sizes) - 1

    def possible(t: float) -> bool:
        # Divided by t^q, so that nothing leaves the range.
        reached = sizes[q] / t**q + sum(off * sizes[j - 1] / t**j for j in range(1, q + 1))
        return not reached * (1 + 1e-9) < math.sqrt(_LEAST)

    low = 0.0
    if not all(map(math.isfinite, (*sizes, off))):
        return math.inf
    high = max((sizes[q] / math.sqrt(_LEAST)) ** (1 / q), off) or 1e-300
    while possible(high):
        low, high = high, 2 * high
        if not math.isfinite(high):
            return math.inf
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return high


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x)) * (1 + 1e-9)


def _gram_times(parts: Sequence[Blocks], x: Tensor, shift: int) -> tuple[Tensor, float, int]:
    """Return (W^T W x, ||W||_F^2, rows)."""
    found = list(in_order([partial(_of_part, part, x, shift) for part in parts]))
    total = found[0][0]
    for product, _, _ in found[1:]:
        total += product
    return total, sum(squares for _, squares, _ in found), sum(rows for _, _, rows in found)


def _of_part(blocks: Blocks, x: Tensor, shift: int) -> tuple[Tensor, float, int]:
    total, squares, count = torch.zeros_like(x), 0.0, 0
    with one_thread(), torch.autocast("cpu", enabled=False), torch.inference_mode(False), torch.no_grad():
        for rows in _pieces(blocks()):
            wide = rows.double()
            if shift:
                wide = wide * 2.0**shift
            total.addmm_(x @ wide.T, wide)
            squares += float(torch.linalg.vector_norm(wide)) ** 2
            count += len(wide)
    return total, squares, count


def _pieces(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    for block in blocks:
        yield from block.split(max(1, _PIECE // block.shape[1]))
