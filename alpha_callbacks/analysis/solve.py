"""A weight after a round trip -> its eigenvalues, the fit of their tail, and what else was asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from alpha_callbacks.analysis.enclosed_fit import enclosed_fit
from alpha_callbacks.analysis.further import Further, look_further
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.analysis.short_side import short_side_parts
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.low_rank import product_spectrum
from alpha_callbacks.solvers.proved_single import Enclosure, Proof
from alpha_callbacks.solvers.spectrum import Spectrum, spectrum

FAST_GOAL = 2e-4  # of alpha: what `fast` has to prove, else it solves exactly; docs/fast_bound.md has the reasons
_PRINTED = 1.01  # a bound is rounded up to three digits


@dataclass(frozen=True)
class Solved:
    """A decomposition with its fit, ready to be reported under several precisions. It holds no link to its matrix.

    Attributes:
        spectrum: the eigenvalues.
        fit: of their tail.
        stored: what the estimator knew of the matrix.
        further: what else they have shown.
    """

    spectrum: Spectrum
    fit: TailFit
    stored: StoredMatrix
    further: Further


def solve(matrix: Matrix, precision: Precision | None, wanted: Callable[[Tensor], int] | None = None) -> Solved:
    """Decompose the weight after the round trip (None: as stored) and fit its tail.

    Args:
        matrix: the weight.
        precision: the format.
        wanted: given the eigenvalues, returns how many eigenvectors to keep beside them; None: none.
    """
    weight, estimator, stored = matrix.weight, matrix.estimator, matrix.after(precision)
    if precision is None and weight.factors is not None:
        found = product_spectrum(*weight.factors())
    else:
        found = spectrum(
            short_side_parts(weight, through(precision, matrix.sizes.largest) if precision else None),
            weight.n_eigs,
            unresolved=lambda evals, squares, rounding: estimator.unresolved(evals, squares, stored, rounding),
            absmax=matrix.sizes.largest,
            solver=matrix.options.solver,
            device=matrix.options.device,
            wanted=wanted,
            proof=proof_of(estimator, stored),
        )
    fit = estimator.fit(found.evals, found.frobenius_norm**2, stored)
    if (sides := found.enclosure) is not None:
        low, high = estimator.alpha_range(sides.lower, sides.upper, stored)
        bound = max(high - fit.alpha, fit.alpha - low)
        found = replace(found, accuracy=bound / fit.alpha * (1 + 1e-12))
    return judged(matrix, precision, found, fit)


def proof_of(estimator: Estimator, stored: StoredMatrix) -> Proof:
    """Return what `fast` has to prove of a matrix: its status, and alpha to `FAST_GOAL` of itself."""

    def refusal(evals: Tensor, squares: float, sides: Enclosure) -> str:
        found = enclosed_fit(evals, sides.lower, sides.upper, squares, estimator, stored)
        if found is None:
            return "nothing is proved of alpha"
        return (
            ""
            if found.bound * _PRINTED <= FAST_GOAL * found.fit.alpha
            else f"alpha is proved to {found.bound:.1g} only"
        )

    return Proof(estimator.leading(min(stored.out_features, stored.in_features)), refusal)


def judged(matrix: Matrix, precision: Precision | None, found: Spectrum, fit: TailFit) -> Solved:
    """Return a fit with the verdict on it, and with what else was asked for."""
    stored = matrix.after(precision)
    further = look_further(matrix.weight, precision, stored, matrix.sizes.largest, found, fit, matrix.options)
    return Solved(found, fit, stored, further)
