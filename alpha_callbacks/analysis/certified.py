"""One further precision of a weight, from the eigenvectors of another: its fit, with a proved bound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.analysis.short_side import short_side_blocks
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.perturbation import StripMeter
from alpha_callbacks.solvers.rayleigh_ritz import RayleighRitz, RitzValues
from alpha_callbacks.solvers.spectrum import Spectrum
from alpha_callbacks.solvers.top_space import TopSpace
from alpha_callbacks.weights.weight import Weight

SOLVER = "ritz_fp64"  # in the column `solver`


@dataclass(frozen=True)
class Certified:
    """A fit whose alpha is within `bound` of the true one, rounding included.

    Attributes:
        spectrum: the eigenvalues that it was made from; only the leading ones are proved.
        fit: the fit.
        bound: |alpha - alpha of Q(W)| is at most this.
        low: the proved range of alpha begins here.
        high: and ends here.
    """

    spectrum: Spectrum
    fit: TailFit
    bound: float
    low: float
    high: float


def certified(
    weight: Weight,
    precision: Precision,
    *,
    largest: float,
    top: TopSpace,
    estimator: Estimator,
    stored: StoredMatrix,
) -> Certified | None:
    """Return the fit of a weight after a precision; None where no finite bound can be proved.

    Args:
        weight: finite, on the CPU.
        precision: the format.
        largest: max |w|.
        top: eigenvectors of the weight as stored.
        estimator: what fits the tail.
        stored: what the estimator may know of the weight after the precision.
    """
    round_trip = through(precision, largest)
    strips, ritz = StripMeter(weight.in_features, largest), RayleighRitz(top.vectors, top.defect)
    unseen = weight.out_features

    def change(rows: Tensor) -> Tensor:
        nonlocal unseen
        after = round_trip(rows)
        if unseen:  # the rows of a wide matrix may come more than once
            wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
            strips.add(rows.to(wide) - after.to(wide))
            unseen -= len(rows)
        return after

    with torch.autocast("cpu", enabled=False), torch.inference_mode(False), torch.no_grad():
        for block in short_side_blocks(weight, change):
            ritz.add(block.double())
        count = estimator.leading(weight.n_eigs)
        beyond = (math.sqrt(top.beyond) + strips.bound()) ** 2 * (1 + 1e-12)
        values = ritz.result(beyond, count, top.rest)
    return None if values is None else _fitted(values, top.rest, count, estimator, stored)


def _fitted(
    values: RitzValues, rest: Tensor, count: int, estimator: Estimator, stored: StoredMatrix
) -> Certified | None:
    squares = values.frobenius_norm**2
    low, high = estimator.alpha_range(values.lower[:count], values.upper, stored)
    # A status is certain only where both ends of the enclosure have it.
    fits = [
        estimator.fit(torch.cat([ends, rest.clamp(max=float(ends[-1]))]), squares, stored)
        for ends in map(_descending, (values.lower, values.upper, values.estimate))
    ]
    fit, evals = fits[-1], torch.cat([_descending(values.estimate), rest.clamp(max=float(values.estimate.min()))])
    if any(each.status != "ok" for each in fits):
        return None
    bound = max(high - fit.alpha, fit.alpha - low) * (1 + 1e-9)  # of differences that are computed
    if not math.isfinite(bound):
        return None
    return Certified(Spectrum(evals, values.frobenius_norm, SOLVER), fit, bound, low, high)


def _descending(values: Tensor) -> Tensor:
    return values.clamp(min=0).sort(descending=True).values
