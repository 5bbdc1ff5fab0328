"""Eigenvalues by fp32 arithmetic, with proved bounds of the leading ones (docs/fast_bound.md)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.gram_error import gram_error
from alpha_callbacks.solvers.gram_of_blocks import Blocks, ScaledBlocks, gram_of, safe_shift
from alpha_callbacks.solvers.single_reduction import SingleReduction
from alpha_callbacks.utils.one_thread import one_thread


@dataclass(frozen=True)
class Enclosure:
    """Proved bounds of the leading eigenvalues.

    Attributes:
        lower: shape (p,), float64: the i-th largest eigenvalue is at least this.
        upper: shape (p,), float64: and at most this.
    """

    lower: Tensor
    upper: Tensor


@dataclass(frozen=True)
class Proof:
    """What has to be proved of eigenvalues in fp32 for them to be used.

    Attributes:
        leading: number of the largest that are to be enclosed.
        refusal: given (all eigenvalues, ||W||_F^2, an enclosure), says why it is too wide, or "".
    """

    leading: int
    refusal: Callable[[Tensor, float, Enclosure], str]


def solve_in_single(parts: Sequence[Blocks], n: int, proof: Proof, absmax: float) -> tuple[Tensor, float, Enclosure]:
    """Return (all eigenvalues, ||W||_F^2, an enclosure of the leading ones), by fp32 arithmetic.

    Args:
        parts: each returns a fresh iterator over blocks of W, shape (b, n), on the CPU.
        n: number of eigenvalues.
        proof: what is to be proved.
        absmax: largest |entry|, finite and > 0.

    Raises:
        SolverError: that cannot be proved, or LAPACK failed.
    """
    shift = safe_shift(absmax, torch.float32)
    unscale, leading = 4.0**-shift, min(proof.leading, n)
    scaled = [ScaledBlocks(part, torch.float32, "cpu", shift) for part in parts]
    with torch.autocast("cpu", enabled=False), torch.inference_mode(False), torch.no_grad():
        gram = gram_of(scaled, n, torch.float32, "cpu")
        with one_thread():
            form = SingleReduction(gram)
            del gram
            evals, solved = form.values(leading)
        top, squares = evals[:leading], sum(part.squares for part in scaled) * unscale

        def enclosure(error: float) -> Enclosure:
            # Those of Q T Q^T are those of T within ||Q^T Q - I|| of themselves (Ostrowski), and W^T W differs by E.
            off = (error + solved + form.defect * (top.abs() + solved)) * (1 + 1e-9)
            return Enclosure((top - off) * unscale, (top + off) * unscale)

        def refusal(error: float) -> str:
            return proof.refusal(found, squares, enclosure(error))

        found = evals.clamp(min=0) * unscale
        error, frobenius_sq = gram_error(
            parts, n, form.times, shift=shift, rounding=form.rounding, enough=lambda bound: not refusal(bound)
        )
        if refused := refusal(error):
            raise SolverError(refused)
    return found, frobenius_sq * unscale, enclosure(error)
