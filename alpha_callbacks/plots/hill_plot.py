"""Alpha against the size of the tail: whether there is a tail at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.estimators.curves import hill_curve, hill_sizes
from alpha_callbacks.estimators.marchenko_pastur import alpha_null
from alpha_callbacks.estimators.spread import TWO_SIDED, alpha_spread
from alpha_callbacks.plots.elements.canvas import styled
from alpha_callbacks.plots.elements.spectrum_axes import set_x_range, spectrum_axes
from alpha_callbacks.plots.elements.spectrum_subject import subject
from alpha_callbacks.tables.table import Row
from alpha_callbacks.tables.vocabulary import DATA, GREY, LABELS, METRICS, NOISE, TAIL

if TYPE_CHECKING:
    from torch import Tensor

_POINTS, _NOISE_POINTS = 200, 40
_SETTLED = 5  # smaller tails do not count for the height of the plot: single eigenvalues make alpha jump there


@styled
def plot_hill(
    evals: Tensor | np.ndarray,
    row: Row | None = None,
    *,
    k: int | None = None,
    shape: tuple[int, int] | None = None,
    title: str = "",
) -> tuple[Figure, Axes]:
    """Draw alpha for every size of the tail, with the size used marked.

    A power-law tail shows as a stretch where alpha hardly changes with k. The band is ± 1.96 `alpha_spread`, where 95 %
    of alphas would be if the noise in the matrix were drawn again. It is too narrow for matrices of very heavy entries.

    Args:
        evals: eigenvalues (squared singular values), from `open_spectra` or from elsewhere.
        row: their row, which gives shape, tail size, threshold and title.
        k: tail size to mark; default: that of the row, else 10 % of the spectrum.
        shape: (out_features, in_features), for the curve of noise.
        title: heading.

    Returns:
        The figure and its axes.

    Raises:
        SpectrumError: fewer than two eigenvalues, negative or not finite ones, or k out of range.

    Examples:
        >>> import torch
        >>> figure, axes = plot_hill(torch.linspace(1, 100, 100), k=10)
        >>> axes.lines[0].get_label()
        'alpha'
    """
    what = subject(evals, row, k, shape, title)
    n, fit = len(what.evals), what.fit
    sizes = np.array(hill_sizes(n, points=_POINTS, k=fit.k))
    alphas = hill_curve(what.evals, sizes.tolist(), threshold=what.threshold)
    figure, axes = spectrum_axes(what, 4.0, "tail size k", METRICS["alpha"].axis)
    error = TWO_SIDED * np.array([alpha_spread(alpha, k, n) for alpha, k in zip(alphas, sizes, strict=True)])
    axes.fill_between(sizes, alphas - error, alphas + error, color=DATA, alpha=0.2, linewidth=0, label=LABELS["spread"])
    axes.plot(sizes, alphas, color=DATA, linewidth=1.5, label="alpha")
    heights = [*alphas[(sizes >= min(_SETTLED, fit.k)) & np.isfinite(alphas)], 2.0]
    if what.shape is not None:
        ks = hill_sizes(n, points=_NOISE_POINTS, k=fit.k)
        noise = [alpha_null(*what.shape, at) if n == min(what.shape) else math.nan for at in ks]
        axes.plot(ks, noise, "--", color=NOISE, linewidth=1.2, label="noise (Marchenko-Pastur)")
        heights.append(noise[ks.index(fit.k)] if fit.k in ks else math.nan)
    axes.axvline(fit.k, color=GREY, linewidth=0.8, linestyle=":")
    if fit.status == "ok":
        axes.plot([fit.k], [fit.alpha], "o", color=TAIL, markersize=6, label=f"used: k = {fit.k}", zorder=4)
    axes.set_ylim(1, 1.12 * float(np.nanmax(heights)))
    set_x_range(axes, float(sizes[0]), float(max(sizes[-1], sizes[0] + 1)))
    axes.legend(loc="best")
    return figure, axes
