"""The spectrum of one weight: the density of its eigenvalues, the fitted tail, and the law of noise of this shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from alpha_callbacks.estimators.curves import NoiseLaw, log_density
from alpha_callbacks.plots.elements.canvas import styled
from alpha_callbacks.plots.elements.spectrum_axes import set_x_range, spectrum_axes
from alpha_callbacks.plots.elements.spectrum_subject import Subject, subject
from alpha_callbacks.tables.table import Row
from alpha_callbacks.tables.vocabulary import DATA, GREY, NOISE, TAIL

if TYPE_CHECKING:
    from torch import Tensor


@styled
def plot_esd(
    evals: Tensor | np.ndarray,
    row: Row | None = None,
    *,
    k: int | None = None,
    shape: tuple[int, int] | None = None,
    bins: int = 64,
    title: str = "",
) -> tuple[Figure, Axes]:
    """Draw the empirical spectral density in double logarithmic scale.

    The line over the tail is the fitted power law from x_min on; the dashed curve is the Marchenko-Pastur law of a
    matrix of independent entries with this shape and norm.

    Args:
        evals: eigenvalues (squared singular values), from `open_spectra` or from elsewhere.
        row: their row, which gives shape, tail size, threshold and title.
        k: tail size; default: that of the row, else 10 % of the spectrum.
        shape: (out_features, in_features), for the law of noise.
        bins: bins of the histogram, equally wide in log eigenvalue.
        title: heading.

    Returns:
        The figure and its axes.

    Raises:
        SpectrumError: fewer than two eigenvalues, negative or not finite ones, or k out of range.

    Examples:
        >>> import torch
        >>> figure, axes = plot_esd(torch.rand(100) ** -0.5, shape=(100, 300))
        >>> axes.get_xscale(), [line.get_label() for line in axes.lines][1]
        ('log', 'noise (Marchenko-Pastur)')
    """
    what = subject(evals, row, k, shape, title)
    figure, axes = spectrum_axes(what, 4.3, "eigenvalue (squared singular value)", "density")
    found = log_density(what.evals, bins=bins)
    centres, seen = np.sqrt(found.edges[:-1] * found.edges[1:]), found.counts > 0
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.plot(centres[seen], found.density[seen], ".", color=DATA, markersize=5, label="eigenvalues")
    _draw_noise(axes, what)
    _draw_tail(axes, what)
    # Show nine tenths of the spectrum: the few smallest eigenvalues of a square matrix would take half of the width.
    bulk = centres >= what.evals[math.floor(0.9 * (len(what.evals) - 1))]
    shown = found.density[seen & bulk]
    if len(shown):
        set_x_range(axes, centres[bulk][0] / 1.1, found.edges[-1] * 1.15)
        axes.set_ylim(shown.min() / 3, shown.max() * 3)
    axes.legend(loc="lower left")
    return figure, axes


def _draw_noise(axes: Axes, what: Subject) -> None:
    if what.shape is None:
        return
    law = NoiseLaw(*what.shape, variance=float(what.evals.sum()) / (what.shape[0] * what.shape[1]))
    low, high = law.edges
    if high > 0:
        x = np.geomspace(max(low, high * 1e-9), high, 600)[1:-1]
        axes.plot(x, law.density(x), "--", color=NOISE, linewidth=1.2, label="noise (Marchenko-Pastur)")


def _draw_tail(axes: Axes, what: Subject) -> None:
    fit = what.fit
    if not fit.x_min > 0:
        return
    axes.axvline(fit.x_min, color=GREY, linewidth=0.8, linestyle=":", label=f"x_min, k = {fit.k}")
    if fit.status == "ok":
        x = np.geomspace(fit.x_min, max(float(what.evals[0]), fit.x_min * 1.01), 50)
        density = fit.k / len(what.evals) * (fit.alpha - 1) / fit.x_min * (x / fit.x_min) ** -fit.alpha
        axes.plot(x, density, color=TAIL, linewidth=1.8, label=f"tail, alpha = {fit.alpha:.4g}")
