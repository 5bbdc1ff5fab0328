"""Hill's estimator over half of the spectrum, and over windows of equal shape."""

import numpy as np

from alpha_callbacks.estimators.tail_estimate import TailEstimate, estimate_above, resolved


def half(evals: np.ndarray, name: str = "half") -> TailEstimate:
    """Fit the upper half of a spectrum: x_min is its median, and counts.

    What TempBalance, AlphaDecay and LLR compute (`xmin_mid`): with N eigenvalues in rising order, x_min = x[N // 2],
    and alpha = 1 + n / sum(ln(x / x_min)) over the n = N - N // 2 from it on.

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.
        name: what the estimate calls itself.

    Source: Zhou et al., TempBalance, 2023; LLR, arXiv 2605.22297, 2026.

    Examples:
        >>> fit = half(np.array([8.0, 4.0, 2.0, 1.0]))
        >>> round(fit.alpha, 4), fit.n_tail, fit.x_min
        (3.8854, 2, 4.0)
    """
    data = resolved(np.asarray(evals, dtype=np.float64))
    if len(data) < 3:
        return TailEstimate(name, reason=f"{len(data)} eigenvalues that are not zero, fewer than 3")
    return estimate_above(name, data, len(data) // 2)


def farms(matrix: np.ndarray, *, windows: int = 64, side: int = 128, seed: int = 0) -> TailEstimate:
    """Fit the upper half of the pooled eigenvalues of square windows, so that the shape of the matrix cancels.

    Windows of min(side, rows, cols) rows and columns lie at random places (seeded); their eigenvalues are pooled, and
    the estimator is `half`. The noise value is then that of a square matrix, whatever the shape.

    Args:
        matrix: shape (out_features, in_features), finite.
        windows: how many.
        side: their rows and columns.
        seed: of their places.

    Source: Hu et al., FARMS, ICML 2025 (arXiv 2506.06280); there the windows lie on a grid.

    Examples:
        >>> noise = np.random.default_rng(0).standard_normal((96, 512))
        >>> round(farms(noise, side=64).alpha, 1)  # a square Marchenko-Pastur law has 2.1 at half its spectrum
        2.1
    """
    rows, cols = matrix.shape
    size = min(side, rows, cols)
    places = np.random.default_rng(seed).integers(0, (rows - size + 1, cols - size + 1), (windows, 2))
    if rows == cols == size:
        places = places[:1]  # there is one window only
    parts = np.stack([matrix[r : r + size, c : c + size] for r, c in places]).astype(np.float64)
    evals = np.linalg.eigvalsh(parts @ parts.transpose(0, 2, 1)).ravel()
    return half(np.sort(np.clip(evals, 0, None))[::-1], "farms")
