"""What is said of a spectrum beyond alpha: the verdict on its tail, other estimators, further measures."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.estimators.all_estimators import ESTIMATORS, OF_MATRICES, OF_SPECTRA
from alpha_callbacks.estimators.estimator import StoredMatrix, TailFit
from alpha_callbacks.estimators.spectral_measures import bulk_measures, norm_measures, trap_measures
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.estimators.verdict import UNJUDGED, Verdict, judge
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.spectrum import Spectrum, spectrum
from alpha_callbacks.weights.weight import Weight, spans

_SEED = 0  # of the shuffle, so that equal weights give equal rows


@dataclass(frozen=True)
class Further:
    """What one decomposition has shown beyond alpha.

    Attributes:
        verdict: on the tail.
        estimates: of the other estimators, in the order asked.
        measures: name -> value, for the groups asked.
    """

    verdict: Verdict = UNJUDGED
    estimates: tuple[TailEstimate, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)


def look_further(
    weight: Weight,
    precision: Precision | None,
    stored: StoredMatrix,
    largest: float,
    found: Spectrum,
    fit: TailFit,
    options: AnalysisOptions,
) -> Further:
    """Return the verdict on a fit, and what `options` asks for besides.

    Args:
        weight: what was decomposed.
        precision: the format that it went through; None: as stored.
        stored: what is known of its digits.
        largest: max |w|.
        found: the decomposition; only "farms" and "traps" make another one.
        fit: Hill's.
        options: name the estimators and the groups of measures.
    """
    evals, shape = found.evals.numpy(), (weight.out_features, weight.in_features)
    if float(evals[0]) == 0:
        return Further()
    null = options.estimator.null(*shape)
    verdict = judge(evals, alpha=fit.alpha, k=fit.k, ks_distance=fit.ks_distance, null=null, shape=shape)

    def entries() -> Tensor:
        change = through(precision, largest) if precision else None
        blocks = (block if change is None else change(block) for block in weight.row_blocks())
        wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
        return torch.cat([block.to("cpu", wide, copy=True) for block in blocks])

    names = [name for name in options.estimators if name not in ESTIMATORS]
    if fit.status == "degenerate":  # what differs between equal eigenvalues is rounding, and every fit would be of that
        estimates = tuple(TailEstimate(name, reason="all eigenvalues are equal but for rounding") for name in names)
    else:
        floor = options.estimator.rank_floor(found.frobenius_norm**2, stored) if fit.status != "ok" else 0.0
        estimates = tuple(_estimate(name, evals[evals > floor], entries) for name in names)
    measures: dict[str, float] = {}
    if "norms" in options.measures:
        measures |= norm_measures(evals, shape)
    if "bulk" in options.measures:
        measures |= bulk_measures(evals, shape)
    if "entries" in options.measures:
        measures["kurtosis"] = kurtosis(entries().numpy())
    if "traps" in options.measures:
        measures |= trap_measures(evals, _shuffled_spectrum(entries(), options), shape)
    return Further(verdict, estimates, measures)


def _estimate(name: str, evals: np.ndarray, entries: Callable[[], Tensor]) -> TailEstimate:
    """Return an estimate; an error in one of them costs the row nothing else."""
    try:
        if name in OF_SPECTRA:
            return OF_SPECTRA[name](evals)
        return OF_MATRICES[name](entries().numpy())
    except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        return TailEstimate(name, reason=f"{type(error).__name__}: {error}")


def kurtosis(entries: np.ndarray) -> float:
    """Return the fourth central moment of entries over the square of their variance: 3 for a normal law.

    Examples:
        >>> kurtosis(np.array([-1.0, 1.0, -1.0, 1.0]))
        1.0
    """
    flat = entries.ravel()
    flat = flat / (float(np.abs(flat).max()) or 1.0)  # fourth powers stay in range
    mean = float(flat.mean(dtype=np.float64))
    second = fourth = 0.0
    for first, last in spans(len(flat), 1):
        squares = (flat[first:last].astype(np.float64) - mean) ** 2
        second += float(squares.sum())
        fourth += float((squares**2).sum())
    return fourth * len(flat) / second**2 if second else math.nan


def _shuffled_spectrum(entries: Tensor, options: AnalysisOptions) -> np.ndarray:
    """Return the eigenvalues of a matrix with its entries in random places (seeded)."""
    flat = entries.reshape(-1)
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(_SEED))
    mixed = flat[order].reshape(entries.shape)
    tall = mixed if mixed.shape[0] >= mixed.shape[1] else mixed.T

    def blocks() -> Iterator[Tensor]:
        for first, last in spans(*tall.shape):
            yield tall[first:last].to(options.device)

    solved = spectrum(
        blocks,
        tall.shape[1],
        unresolved=lambda *_: "",
        absmax=float(flat.abs().max()),
        solver=options.solver,
        device=options.device,
    )
    return solved.evals.numpy()
