"""A matrix, streamed in blocks -> all its squared singular values, verified. U and V are never formed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.gram import add_gram, fp32_products_are_fp32
from alpha_callbacks.solvers.solver import Solver
from alpha_callbacks.solvers.top_space import TopSpace, TopSpaceSolver
from alpha_callbacks.solvers.tridiagonal import available
from alpha_callbacks.utils.crew import in_order
from alpha_callbacks.utils.one_thread import one_thread

_MANY = 128  # eigenvalues from which on fp32 spares time; the errors of fewer do not average out
# On CUDA, torch solves up to 512 in fp32 by Jacobi rotations, and each value is off by up to 6e-5 of itself (H200).
_MANY_ON_DEVICE = 513
Blocks = Callable[[], Iterator[Tensor]]

_SAFE_EXPONENT = {
    torch.float32: 40,
    torch.float64: 400,
}  # |log2 max|w|| up to which squares neither over- nor underflow


@dataclass(frozen=True)
class Rounding:
    """How far rounding may have moved the eigenvalues of one way to get them.

    Attributes:
        name: of that way.
        units: error of one eigenvalue in units of eps * lambda_1.
        own: error of one eigenvalue in units of eps times itself, beside that.
        eps: relative spacing of the arithmetic.
        goal: relative error that a result made from them may have.
    """

    name: str
    units: float
    own: float
    eps: float
    goal: float


# Given (eigenvalues, ||W||_F^2, their rounding), says why they are not good enough for what they are wanted for, or "".
Unresolved = Callable[[Tensor, float, Rounding], str]

# Given all eigenvalues, descending, says of how many of the largest the eigenvectors are wanted too.
Wanted = Callable[[Tensor], int]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the Gram matrix on the short side.

    Attributes:
        evals: shape (n,), float64, CPU, descending, >= 0; squared singular values (unit: weight squared).
        frobenius_norm: ||W||_F, from the entries.
        solver: the rung that passed all checks: "gram_fp32", "gram_fp64" or "svd_fp64".
        accuracy: relative error of alpha to reckon with beyond fp64 rounding (2e-5 for gram_fp32).
        top: eigenvectors of the largest eigenvalues, where they were wanted and could be had.
    """

    evals: Tensor
    frobenius_norm: float
    solver: str
    accuracy: float = 0.0
    top: TopSpace | None = None


@dataclass(frozen=True)
class _Rung:
    """One way to get the eigenvalues, tried in order.

    Attributes:
        name: stored with the result.
        dtype: arithmetic.
        anywhere: True if it may run on the accelerator.
        units: rounding of one eigenvalue in units of eps * lambda_1. Not a worst case: the errors of many eigenvalues
            average out. Seen in fp32 on spikes and power laws: 0.03 or less where lambda_1 is large enough to matter.
        own: rounding of one eigenvalue in units of eps times itself, which is what flat tails feel. Seen in fp32 on
            noise and nearly orthogonal matrices of 128 to 320: an alpha off by 9 of such units in all eigenvalues.
        goal: relative error of alpha that it must reach by that estimate, else the next rung is taken.
        sum_tolerance: allowed relative gap between sum(evals) and ||W||_F^2.
    """

    name: str
    dtype: torch.dtype
    anywhere: bool
    units: float
    own: float
    goal: float
    sum_tolerance: float

    @property
    def eps(self) -> float:
        """Relative spacing of the arithmetic."""
        return torch.finfo(self.dtype).eps


_GRAM_FP32 = _Rung("gram_fp32", torch.float32, True, units=0.03, own=8, goal=2e-5, sum_tolerance=1e-4)
# The goal. Seen on real weights: 8.1e-6 (AMD), 1.2e-5 (Intel).
_ACCURACY = {torch.float32: 2e-5}
_GRAM_FP64 = _Rung("gram_fp64", torch.float64, True, units=0.1, own=0, goal=1e-10, sum_tolerance=1e-10)
_GRAM_FP64_CPU = _Rung("gram_fp64", torch.float64, False, units=0.1, own=0, goal=1e-10, sum_tolerance=1e-10)
_SVD_FP64 = _Rung("svd_fp64", torch.float64, False, units=0, own=0, goal=math.inf, sum_tolerance=1e-10)


def spectrum(
    parts: Sequence[Blocks],
    n: int,
    *,
    unresolved: Unresolved,
    absmax: float,
    solver: Solver,
    device: str,
    wanted: Wanted | None = None,
) -> Spectrum:
    """Return all eigenvalues of B^T B, B the blocks of all parts stacked.

    Args:
        parts: each returns a fresh iterator over blocks of shape (b, n), n the short side, any float dtype. Threads
            that are free help with parts other than the first, on the CPU.
        n: number of eigenvalues.
        unresolved: decides whether the Gram matrix is good enough; the solver knows no tail.
        absmax: largest |entry|, finite and > 0; decides whether squares need scaling to stay in range.
        solver: "exact" (fp64) or "fast" (fp32 where it is good to 2e-5 and spares time).
        device: torch device that computes.
        wanted: how many eigenvectors to return in `top`; None: the values alone. They come from the fp64 Gram matrix on
            the CPU, with NumPy's LAPACK.

    Raises:
        SolverError: no rung passed its checks; says what each one found.
    """
    refusals = []
    if not vectors_possible(device):
        wanted = None
    fast = solver == "fast" and wanted is None and n >= (_MANY if _on_cpu(device) else _MANY_ON_DEVICE)
    for rung in _ladder(fast, device):
        where = device if rung.anywhere else "cpu"
        try:
            evals, frobenius_sq, top = _solve(rung, parts, n, absmax=absmax, device=where, wanted=wanted)
        except (RuntimeError, SolverError) as error:
            refusals.append(f"{rung.name} on {where}: {error}")
            continue
        refusal = _refusal(rung, evals, frobenius_sq, unresolved)
        if not refusal:
            accuracy = _ACCURACY.get(rung.dtype, 0.0)
            return Spectrum(evals.clamp_(min=0), math.sqrt(frobenius_sq), rung.name, accuracy, top)
        refusals.append(f"{rung.name} on {where}: {refusal}")
    raise SolverError("spectrum: no solver passed its checks. " + "; ".join(refusals))


def vectors_possible(device: str) -> bool:
    """Return True if `spectrum` can return eigenvectors there."""
    return _on_cpu(device) and available()


def _on_cpu(device: str) -> bool:
    return torch.device(device).type == "cpu"


def _ladder(fast: bool, device: str) -> Iterator[_Rung]:
    """Yield the rungs from the cheapest that is allowed to the safest."""
    if fast and fp32_products_are_fp32(_on_cpu(device)):
        yield _GRAM_FP32
    yield _GRAM_FP64
    if not _on_cpu(device):
        yield _GRAM_FP64_CPU
    yield _SVD_FP64


def _solve(
    rung: _Rung, parts: Sequence[Blocks], n: int, *, absmax: float, device: str, wanted: Wanted | None
) -> tuple[Tensor, float, TopSpace | None]:
    """Return (evals float64 descending on the CPU, ||W||_F^2, the eigenvectors wanted) by this rung."""
    exponent = math.frexp(absmax)[1]
    shift = 0 if abs(exponent) <= _SAFE_EXPONENT[rung.dtype] else -exponent
    scaled = [_Scaled(part, rung.dtype, device, shift) for part in parts]
    with torch.autocast(torch.device(device).type, enabled=False), torch.inference_mode(False), torch.no_grad():
        if rung is _SVD_FP64:
            evals, top = _evals_svd(chain.from_iterable(scaled), n), None
            squares = sum(part.squares for part in scaled)
        else:
            gram = _gram(scaled, n, rung.dtype, device)
            squares, rows = sum(part.squares for part in scaled), sum(part.rows for part in scaled)
            if rung is _GRAM_FP64 and wanted is not None and not shift:
                evals, top = _with_vectors(TopSpaceSolver(gram, frobenius_sq=squares, summed=rows), wanted)
            else:
                evals, top = _evals_gram(gram), None
    unscale = 4.0**-shift
    return evals.to(device="cpu", dtype=torch.float64).mul_(unscale), squares * unscale, top


class _Scaled:
    """The blocks of one part as a rung multiplies them; it adds up their squares and rows on the way."""

    def __init__(self, blocks: Blocks, dtype: torch.dtype, device: str, shift: int) -> None:
        self._blocks, self._dtype, self._device, self._shift = blocks, dtype, device, shift
        self.squares, self.rows = 0.0, 0

    def __iter__(self) -> Iterator[Tensor]:
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


def _with_vectors(solver: TopSpaceSolver, wanted: Wanted) -> tuple[Tensor, TopSpace | None]:
    """Return all eigenvalues, and the vectors wanted if they can be had."""
    count = wanted(solver.evals)
    try:
        return solver.evals, solver.top(count) if count else None
    except (RuntimeError, SolverError):  # the values are good without
        return solver.evals, None


def _sum_of_squares(block: Tensor) -> float:
    """Return ||block||_F^2: line by line in the block's own dtype, lines in fp64."""
    along = 1 if block.stride(1) == 1 else 0
    lines: Tensor = torch.linalg.vector_norm(block, dim=along)
    return float(lines.double().square_().sum())


def _gram(parts: Sequence[Iterable[Tensor]], n: int, dtype: torch.dtype, device: str) -> Tensor:
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


def _evals_gram(gram: Tensor) -> Tensor:
    with one_thread():
        evals: Tensor = torch.linalg.eigvalsh(gram, UPLO="L")
    return evals.flip(0)


def _evals_svd(blocks: Iterable[Tensor], n: int) -> Tensor:
    """Squared singular values through a streamed QR: accurate to eps * sigma_1 where the Gram matrix squares that."""
    r = torch.zeros(0, n, dtype=torch.float64)
    for block in blocks:
        r = torch.linalg.qr(torch.cat([r, block]), mode="r").R
    with one_thread():
        sigma: Tensor = torch.linalg.svdvals(r)
    return sigma**2


def _refusal(rung: _Rung, evals: Tensor, frobenius_sq: float, unresolved: Unresolved) -> str:
    """Return why these eigenvalues must not be used, or an empty string."""
    if not bool(torch.isfinite(evals).all()):
        return "eigenvalues are not finite"
    top, total = float(evals[0]), float(evals.sum())
    if abs(total - frobenius_sq) > rung.sum_tolerance * frobenius_sq:
        return f"sum of eigenvalues {total:.6g}, expected ||W||_F^2 = {frobenius_sq:.6g}"
    if top > frobenius_sq * (1 + rung.sum_tolerance):
        return f"largest eigenvalue {top:.6g} above ||W||_F^2 = {frobenius_sq:.6g}"
    if rung.units == 0:  # the last rung: there is nothing better
        return ""
    return unresolved(evals, frobenius_sq, Rounding(rung.name, rung.units, rung.own, rung.eps, rung.goal))
