"""Eigenvalues -> a few hundred points per layer, enough to draw its density, survival function and Hill plot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.estimators.curves import hill_curve, hill_sizes, log_density
from alpha_callbacks.estimators.hill import Threshold
from alpha_callbacks.report.columns import row_of
from alpha_callbacks.report.packing import packed
from alpha_callbacks.tables.spectra_files import Spectra
from alpha_callbacks.tables.table import LayerRows, Table

BINS, HILL_POINTS, RANK_POINTS, TOP = 64, 130, 110, 32
MOST = 1_600  # decompositions in one report; they take about 3.2 of its 10 MB


@dataclass(frozen=True)
class Curve:
    """The points drawn for one decomposition.

    Attributes:
        ends: smallest and largest eigenvalue of the bins.
        counts: eigenvalues in each of BINS bins, equally wide in log x.
        hill: alpha at each of `hill_sizes`.
        ranked: eigenvalues at each of `ranks`.
    """

    ends: tuple[float, float]
    counts: np.ndarray
    hill: np.ndarray
    ranked: np.ndarray


def thin(evals: np.ndarray, *, k: int, threshold: Threshold) -> Curve:
    """Return the points of a spectrum; `k` is one of the tail sizes drawn."""
    found = log_density(evals, bins=BINS)
    n = len(evals)
    return Curve(
        (float(found.edges[0]), float(found.edges[-1])),
        found.counts,
        hill_curve(evals, hill_sizes(n, points=HILL_POINTS, k=k), threshold=threshold),
        evals[np.asarray(ranks(n)) - 1],
    )


@lru_cache(maxsize=64)
def ranks(n: int) -> tuple[int, ...]:
    """Return the ranks whose eigenvalues are kept, from 1: the largest ones all, then evenly in log rank."""
    top = min(TOP, n)
    return tuple(sorted({*range(1, top + 1), *np.geomspace(top, n, RANK_POINTS).round().astype(int).tolist()}))


def curve_columns(table: Table, spectra: Spectra) -> dict[str, Any]:
    """Return the curves of a table for the page's scripts.

    Layers outside mixtures of experts come first, then experts, heaviest tail first, until there are `MOST` curves.

    Returns:
        `of`: for each layer and precision (side by side) the index of its curve plus 1, or 0; `n`, `k`: of each curve;
        `sizes` and `ranks`: for each (n, k) and n; the points of all curves, one after the other; `left_out`: layers
        whose curves are not in the page; `problems`: what could not be read.
    """
    of = np.full((len(table), len(table.precisions)), -1, dtype=np.int64)
    curves, shapes, problems = list[Curve](), list[tuple[int, int]](), list[str]()
    left_out = 0
    for i, layer in _by_importance(table):
        if layer.first.layer_name not in spectra:
            continue
        if len(curves) >= MOST:
            left_out += 1
            continue
        try:
            for places, curve, shape in _of_layer(layer, table.precisions, spectra):
                of[i, places] = len(curves)
                curves.append(curve)
                shapes.append(shape)
        except SpectrumError as error:
            problems.append(str(error))
    return {
        "of": packed(of.ravel() + 1, "u4"),
        "n": packed([n for n, _ in shapes], "u4"),
        "k": packed([k for _, k in shapes], "u4"),
        "sizes": {f"{n},{k}": hill_sizes(n, points=HILL_POINTS, k=k) for n, k in dict.fromkeys(shapes)},
        "ranks": {str(n): ranks(n) for n in dict.fromkeys(n for n, _ in shapes)},
        "bins": BINS,
        "ends": packed([end for curve in curves for end in curve.ends], "f8"),
        "counts": packed(_joined([curve.counts for curve in curves]), "u4"),
        "hill": packed(_joined([curve.hill for curve in curves])),
        "ranked": packed(_joined([curve.ranked for curve in curves])),
        "left_out": left_out,
        "problems": problems[:3],
    }


def _of_layer(
    layer: LayerRows, precisions: Sequence[str], spectra: Spectra
) -> Iterator[tuple[list[int], Curve, tuple[int, int]]]:
    """Yield (places of the precisions that share it, curve, (n, k)) of each decomposition of a layer."""
    kept = spectra[layer.first.layer_name]
    shared: dict[str, list[int]] = {}
    for place, name in enumerate(precisions):
        if name in kept and row_of(layer, name).k_used:
            shared.setdefault(kept.shared(name), []).append(place)
    for name, places in shared.items():
        row = row_of(layer, precisions[places[0]])
        evals = kept.array(name)
        if len(evals) != row.n_eigs:
            raise SpectrumError(f"{row.layer_name}: expected {row.n_eigs} eigenvalues, got {len(evals)}.")
        threshold: Threshold = "last" if row.threshold == "last" else "next"
        yield places, thin(evals, k=row.k_used, threshold=threshold), (len(evals), row.k_used)


def _by_importance(table: Table) -> list[tuple[int, LayerRows]]:
    def rank(entry: tuple[int, LayerRows]) -> tuple[bool, float]:
        expert = entry[1].first.category.startswith("moe_expert_")
        ratio = row_of(entry[1], table.reference).alpha_ratio
        return expert, ratio if expert and ratio == ratio else 0.0

    return sorted(enumerate(table.layers), key=rank)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)
