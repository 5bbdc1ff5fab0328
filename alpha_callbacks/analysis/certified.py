"""A weight, as stored or after a precision, from the eigenvectors of a matrix near it: its fit, with a proved bound."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.analysis.enclosed_fit import enclosed_fit
from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.analysis.short_side import short_side_blocks
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.perturbation import StripMeter
from alpha_callbacks.solvers.rayleigh_ritz import RayleighRitz, RitzValues
from alpha_callbacks.solvers.spectrum import Spectrum
from alpha_callbacks.solvers.top_space import TopSpace
from alpha_callbacks.weights.weight import Weight

SOLVER, SOLVER_EARLIER = "ritz_fp64", "ritz_fp64_earlier"  # in the column `solver`: vectors of this state, or earlier

Rows = Callable[[int, int, torch.dtype], Tensor]


@dataclass(frozen=True)
class Certified:
    """A fit whose alpha is within `bound` of the true one, rounding included.

    Attributes:
        spectrum: the eigenvalues that it was made from; only the leading ones are proved.
        fit: the fit.
        bound: |alpha - alpha of Q(W)| is at most this.
        low: the proved range of alpha begins here.
        high: and ends here.
        lower: proved bounds of the leading eigenvalues from below, descending.
    """

    spectrum: Spectrum
    fit: TailFit
    bound: float
    low: float
    high: float
    lower: Tensor


def certified(
    weight: Weight,
    precision: Precision | None,
    *,
    largest: float,
    top: TopSpace,
    estimator: Estimator,
    stored: StoredMatrix,
    base: Rows | None = None,
) -> Certified | None:
    """Return the fit of a weight after a precision; None where no finite bound can be proved.

    Args:
        weight: finite, on the CPU.
        precision: the format; None: as stored.
        largest: max |w|.
        top: eigenvectors of a matrix near.
        estimator: what fits the tail.
        stored: what the estimator may know of the weight after the precision.
        base: returns rows of that matrix in a dtype; None: it is the weight as stored.
    """
    round_trip = through(precision, largest) if precision is not None else None
    wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
    strips, ritz = StripMeter(weight.in_features, largest), RayleighRitz(top.vectors, top.defect)
    seen = 0

    def change(rows: Tensor) -> Tensor:
        nonlocal seen
        after = rows if round_trip is None else round_trip(rows)
        if seen < weight.out_features:  # the rows of a wide matrix may come more than once
            before = rows.to(wide) if base is None else base(seen, seen + len(rows), wide)
            strips.add(before - after.to(wide))
            seen += len(rows)
        return after

    with torch.autocast("cpu", enabled=False), torch.inference_mode(False), torch.no_grad():
        for block in short_side_blocks(weight, change):
            ritz.add(block.double())
        count = estimator.leading(weight.n_eigs)
        beyond = (math.sqrt(top.beyond) + strips.bound()) ** 2 * (1 + 1e-12)
        values = ritz.result(beyond, count, top.rest)
    solver = SOLVER if base is None else SOLVER_EARLIER
    return None if values is None else _fitted(values, top.rest, count, estimator, stored, solver)


def _fitted(
    values: RitzValues, rest: Tensor, count: int, estimator: Estimator, stored: StoredMatrix, solver: str
) -> Certified | None:
    leading = values.estimate.clamp(min=0).sort(descending=True).values
    evals = torch.cat([leading, rest.clamp(max=float(leading[-1]))])
    lower = values.lower[:count]
    found = enclosed_fit(evals, lower, values.upper, values.frobenius_norm**2, estimator, stored)
    if found is None:
        return None
    return Certified(
        Spectrum(evals, values.frobenius_norm, solver), found.fit, found.bound, found.low, found.high, lower
    )
