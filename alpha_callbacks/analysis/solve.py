"""A weight after a round trip -> its eigenvalues, the fit of their tail, and what else was asked for."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from alpha_callbacks.analysis.further import Further, look_further
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.analysis.short_side import short_side_parts
from alpha_callbacks.estimators.estimator import StoredMatrix, TailFit
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.low_rank import product_spectrum
from alpha_callbacks.solvers.spectrum import Spectrum, spectrum


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
        )
    return judged(matrix, precision, found, estimator.fit(found.evals, found.frobenius_norm**2, stored))


def judged(matrix: Matrix, precision: Precision | None, found: Spectrum, fit: TailFit) -> Solved:
    """Return a fit with the verdict on it, and with what else was asked for."""
    stored = matrix.after(precision)
    further = look_further(matrix.weight, precision, stored, matrix.sizes.largest, found, fit, matrix.options)
    return Solved(found, fit, stored, further)
