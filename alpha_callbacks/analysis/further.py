"""What is said of a spectrum beyond alpha: the verdict on its tail, other estimators, further measures."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.analysis.quantization_error import through
from alpha_callbacks.errors import SourceError
from alpha_callbacks.estimators.all_estimators import ESTIMATORS, OF_MATRICES, OF_SPECTRA
from alpha_callbacks.estimators.estimator import StoredMatrix, TailFit
from alpha_callbacks.estimators.spectral_measures import bulk_measures, norm_measures, trap_measures
from alpha_callbacks.estimators.spread import interval_by_spacings
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.estimators.verdict import UNJUDGED, Verdict, judge
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.spectrum import Spectrum, spectrum
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.weights.weight import Weight, spans

_SEED = 0  # of the shuffle, so that equal weights give equal rows

# What a warning was given of: a model whose layers all fail alike gives one, not hundreds.
_warned: set[tuple[str, type[Exception]]] = set()

_log = own_logger(__name__)


@dataclass(frozen=True)
class Further:
    """What one decomposition has shown beyond alpha.

    Attributes:
        verdict: on the tail.
        estimates: of the other estimators, in the order asked.
        measures: name -> value, for the groups asked.
        measures_reason: which groups have no values and why, or "".
    """

    verdict: Verdict = UNJUDGED
    estimates: tuple[TailEstimate, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    measures_reason: str = ""


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

    An error in one of these costs the row nothing else: it is the reason why that one is missing.

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
    try:
        null = options.estimator.null(*shape)
        verdict = judge(evals, alpha=fit.alpha, k=fit.k, ks_distance=fit.ks_distance, null=null, shape=shape)
    except Exception as error:
        verdict = Verdict("", f"not judged: {_said('verdict', error)}")

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
    groups: dict[str, Callable[[], dict[str, float]]] = {
        "norms": lambda: norm_measures(evals, shape),
        "bulk": lambda: bulk_measures(evals, shape),
        "entries": lambda: {"kurtosis": kurtosis(entries().numpy())},
        "spacings": lambda: interval_by_spacings(evals, fit.alpha, fit.k),
        "traps": lambda: trap_measures(evals, _shuffled_spectrum(entries(), options), shape),
    }
    measures, missing = dict[str, float](), list[str]()
    for name in (name for name in groups if name in options.measures):
        try:
            measures |= groups[name]()
        except SourceError:  # the weights can be read no further
            raise
        except Exception as error:
            missing.append(f"{name}: {_said(name, error)}")
    return Further(verdict, estimates, measures, "; ".join(missing))


def _estimate(name: str, evals: np.ndarray, entries: Callable[[], Tensor]) -> TailEstimate:
    try:
        if name in OF_SPECTRA:
            return OF_SPECTRA[name](evals)
        return OF_MATRICES[name](entries().numpy())
    except SourceError:
        raise
    except Exception as error:
        return TailEstimate(name, reason=_said(name, error))


def _said(what: str, error: Exception) -> str:
    """Return an error in words, logged where it is the first of its kind."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if (what, type(error)) not in _warned:
        _warned.add((what, type(error)))
        _log.warning("%s: no value for a layer (%s). Each row says where, and is whole otherwise.", what, text)
    return text


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
        [blocks],
        tall.shape[1],
        unresolved=lambda *_: "",
        absmax=float(flat.abs().max()),
        solver=options.solver,
        device=options.device,
    )
    return solved.evals.numpy()
