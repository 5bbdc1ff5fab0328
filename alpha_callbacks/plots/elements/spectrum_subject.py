"""A spectrum passed by a caller -> what the charts of spectra draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.estimators.hill import HillFit, Threshold, hill_alpha, tail_size
from alpha_callbacks.plots.elements.figure_text import joined
from alpha_callbacks.tables.table import Row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Subject:
    """One spectrum with its tail.

    Attributes:
        evals: shape (n,), descending.
        fit: the tail to draw.
        threshold: which eigenvalue is x_min.
        shape: shape of the matrix; None where it is unknown, and no law of noise can be drawn.
        title: heading.
        subtitle: line below the heading.
    """

    evals: np.ndarray
    fit: HillFit
    threshold: Threshold
    shape: tuple[int, int] | None
    title: str
    subtitle: str


def subject(
    evals: Tensor | np.ndarray, row: Row | None, k: int | None, shape: tuple[int, int] | None, title: str
) -> Subject:
    """Return what to draw; missing arguments are taken from the row, or else from the defaults of a scan.

    Raises:
        SpectrumError: fewer than two eigenvalues, negative or not finite ones, or k out of range.
    """
    import torch

    values = np.sort(np.asarray(torch.as_tensor(evals, dtype=torch.float64, device="cpu")).ravel())[::-1].copy()
    if len(values) < 2 or not np.isfinite(values).all() or values[-1] < 0:
        raise SpectrumError(
            f"evals: expected two or more eigenvalues >= 0, got {len(values)}, the smallest "
            f"{values[-1] if len(values) else 'missing'}."
        )
    threshold: Threshold = "last" if row is not None and row.threshold == "last" else "next"
    if row is not None:
        shape, k = shape or (row.out_features, row.in_features), k or row.k_used or None
        title = title or f"{row.layer_name}, {row.precision}"
    size = tail_size(len(values)) if k is None else k
    fit = hill_alpha(torch.from_numpy(values), k=size, threshold=threshold)
    sides = f"{shape[0]} × {shape[1]}" if shape else ""
    alpha = f"alpha = {fit.alpha:.5g}" if fit.status == "ok" else f"no alpha: {fit.status}"
    subtitle = joined(row.group if row else "", sides, f"k = {size} of n = {len(values)}", alpha)
    return Subject(values, fit, threshold, shape, title or "Spectrum", subtitle)
