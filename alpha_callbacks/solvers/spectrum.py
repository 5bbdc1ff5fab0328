"""A matrix, streamed in blocks -> all its squared singular values, verified. U and V are never formed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.gram import fp32_products_are_fp32
from alpha_callbacks.solvers.gram_of_blocks import Blocks, ScaledBlocks, gram_of, safe_shift
from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.solvers.proved_single import Enclosure, Proof, solve_in_single
from alpha_callbacks.solvers.shortest_way import single_and_proof, values_by_numpy
from alpha_callbacks.solvers.solver import Solver
from alpha_callbacks.solvers.top_space import TopSpace, TopSpaceSolver
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from alpha_callbacks.utils.one_thread import one_thread

SINGLE = "gram_fp32"  # the name of what fp32 arithmetic has solved


@dataclass(frozen=True)
class Rounding:
    """How far rounding may have moved the eigenvalues of one way to get them.

    Attributes:
        name: of that way.
        units: error of one eigenvalue in units of eps * lambda_1.
        eps: relative spacing of the arithmetic.
        goal: relative error that a result made from them may have.
    """

    name: str
    units: float
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
        accuracy: relative error of alpha to reckon with beyond fp64 rounding; proved.
        top: eigenvectors of the largest eigenvalues, where they were wanted and could be had.
        enclosure: of the leading eigenvalues, where they come from fp32.
    """

    evals: Tensor
    frobenius_norm: float
    solver: str
    accuracy: float = 0.0
    top: TopSpace | None = None
    enclosure: Enclosure | None = None


@dataclass(frozen=True)
class _Rung:
    """One way to get the eigenvalues in fp64, tried in order.

    Attributes:
        name: stored with the result.
        anywhere: True if it may run on the accelerator.
        units: rounding of one eigenvalue in units of eps * lambda_1. Not a worst case: the errors of many eigenvalues
            average out.
        goal: relative error of alpha that it must reach by that estimate, else the next rung is taken.
    """

    name: str
    anywhere: bool
    units: float
    goal: float


_GRAM_FP64 = _Rung("gram_fp64", True, units=0.1, goal=1e-10)
_GRAM_FP64_CPU = _Rung("gram_fp64", False, units=0.1, goal=1e-10)
_SVD_FP64 = _Rung("svd_fp64", False, units=0, goal=math.inf)
_SUM_TOLERANCE = 1e-10  # relative gap between the sum of eigenvalues and ||W||_F^2


def spectrum(
    parts: Sequence[Blocks],
    n: int,
    *,
    unresolved: Unresolved,
    absmax: float,
    solver: Solver,
    device: str,
    wanted: Wanted | None = None,
    proof: Proof | None = None,
) -> Spectrum:
    """Return all eigenvalues of B^T B, B the blocks of all parts stacked.

    Args:
        parts: each returns a fresh iterator over blocks of shape (b, n), n the short side, any float dtype. Threads
            that are free help with parts other than the first, on the CPU.
        n: number of eigenvalues.
        unresolved: decides whether the Gram matrix is good enough; the solver knows no tail.
        absmax: largest |entry|, finite and > 0; decides whether squares need scaling to stay in range.
        solver: "exact" (fp64) or "fast" (fp32 where it is proved to be good enough, and spares time).
        device: torch device that computes.
        wanted: how many eigenvectors to return in `top`; None: the values alone. They come from the fp64 Gram matrix on
            the CPU, with NumPy's LAPACK.
        proof: what "fast" has to prove; without it, and where NumPy's LAPACK cannot be had, it is "exact".

    Raises:
        SolverError: no rung passed its checks; says what each one found.
    """
    refusals = []
    if not vectors_possible(device):
        wanted = None
    if solver == "fast" and proof is not None and single_and_proof(n) and _on_cpu(device):
        try:
            if fp32_products_are_fp32(on_cpu=True):
                evals, frobenius_sq, enclosure = solve_in_single(parts, n, proof, absmax)
                return Spectrum(evals, math.sqrt(frobenius_sq), SINGLE, enclosure=enclosure)
        except (RuntimeError, SolverError) as error:
            refusals.append(f"{SINGLE}: {error}")
    for rung in _ladder(device):
        where = device if rung.anywhere else "cpu"
        try:
            evals, frobenius_sq, top = _solve(rung, parts, n, absmax=absmax, device=where, wanted=wanted)
        except (RuntimeError, SolverError) as error:
            refusals.append(f"{rung.name} on {where}: {error}")
            continue
        refusal = _refusal(rung, evals, frobenius_sq, unresolved)
        if not refusal:
            return Spectrum(evals.clamp_(min=0), math.sqrt(frobenius_sq), rung.name, top=top)
        refusals.append(f"{rung.name} on {where}: {refusal}")
    raise SolverError("spectrum: no solver passed its checks. " + "; ".join(refusals))


def vectors_possible(device: str) -> bool:
    """Return True if `spectrum` can return eigenvectors there."""
    return _on_cpu(device) and available()


def _on_cpu(device: str) -> bool:
    return torch.device(device).type == "cpu"


def _ladder(device: str) -> Iterator[_Rung]:
    """Yield the rungs in fp64 from the cheapest to the safest."""
    yield _GRAM_FP64
    if not _on_cpu(device):
        yield _GRAM_FP64_CPU
    yield _SVD_FP64


def _solve(
    rung: _Rung, parts: Sequence[Blocks], n: int, *, absmax: float, device: str, wanted: Wanted | None
) -> tuple[Tensor, float, TopSpace | None]:
    """Return (evals float64 descending on the CPU, ||W||_F^2, the eigenvectors wanted) by this rung."""
    shift = safe_shift(absmax, torch.float64)
    scaled = [ScaledBlocks(part, torch.float64, device, shift) for part in parts]
    with torch.autocast(torch.device(device).type, enabled=False), torch.inference_mode(False), torch.no_grad():
        if rung is _SVD_FP64:
            evals, top = _evals_svd(chain.from_iterable(scaled), n), None
            squares = sum(part.squares for part in scaled)
        else:
            gram = gram_of(scaled, n, torch.float64, device)
            squares, rows = sum(part.squares for part in scaled), sum(part.rows for part in scaled)
            if rung is _GRAM_FP64 and wanted is not None and not shift:
                evals, top = _with_vectors(TopSpaceSolver(gram, frobenius_sq=squares, summed=rows), wanted)
            else:
                evals, top = _evals_gram(gram), None
    unscale = 4.0**-shift
    return evals.to(device="cpu", dtype=torch.float64).mul_(unscale), squares * unscale, top


def _with_vectors(solver: TopSpaceSolver, wanted: Wanted) -> tuple[Tensor, TopSpace | None]:
    """Return all eigenvalues, and the vectors wanted if they can be had."""
    count = wanted(solver.evals)
    try:
        return solver.evals, solver.top(count) if count else None
    except (RuntimeError, SolverError):  # the values are good without
        return solver.evals, None


def _evals_gram(gram: Tensor) -> Tensor:
    if gram.device.type == "cpu" and values_by_numpy(len(gram)):
        return Tridiagonal(gram).values().flip(0)
    with one_thread():
        evals: Tensor = torch.linalg.eigvalsh(gram, UPLO="L")
    return evals.flip(0)


def _evals_svd(blocks: Iterable[Tensor], n: int) -> Tensor:
    """Squared singular values through a streamed QR: accurate to eps * sigma_1 where the Gram matrix squares that."""
    r = torch.zeros(0, n, dtype=torch.float64)
    with one_thread():
        for block in blocks:
            r = torch.linalg.qr(torch.cat([r, block]), mode="r").R
        sigma: Tensor = torch.linalg.svdvals(r)
    return sigma**2


def _refusal(rung: _Rung, evals: Tensor, frobenius_sq: float, unresolved: Unresolved) -> str:
    """Return why these eigenvalues must not be used, or an empty string."""
    if not bool(torch.isfinite(evals).all()):
        return "eigenvalues are not finite"
    top, total = float(evals[0]), float(evals.sum())
    if abs(total - frobenius_sq) > _SUM_TOLERANCE * frobenius_sq:
        return f"sum of eigenvalues {total:.6g}, expected ||W||_F^2 = {frobenius_sq:.6g}"
    if top > frobenius_sq * (1 + _SUM_TOLERANCE):
        return f"largest eigenvalue {top:.6g} above ||W||_F^2 = {frobenius_sq:.6g}"
    if rung.units == 0:  # the last rung: there is nothing better
        return ""
    return unresolved(evals, frobenius_sq, Rounding(rung.name, rung.units, torch.finfo(torch.float64).eps, rung.goal))
