"""Hill's estimator with a published rule for the size of the tail."""

import math

import numpy as np

from alpha_callbacks.estimators.tail_estimate import TailEstimate, estimate_above, resolved, spread_of_equal

_SHARE = 0.15  # of the spectrum: quantiles up to here are matched
_SMALLEST = 5


def quantile_k(evals: np.ndarray) -> TailEstimate:
    """Fit the tail whose size makes the quantiles of the power law match those of the spectrum best.

    For each k the fitted power law predicts the j-th largest eigenvalue as x_{k+1} (k / j)^(1 / (alpha - 1)). The k
    whose largest |prediction - eigenvalue| over j up to 15 % of the spectrum is smallest wins. In contrast to `csn`,
    which compares probabilities, this weighs the largest eigenvalues most.

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.

    Source: Danielsson, Ergun, de Haan and de Vries, "Tail index estimation: quantile driven threshold selection", 2016.

    Examples:
        >>> pareto = (np.arange(1, 201) / 200) ** -0.5  # alpha = 3
        >>> abs(quantile_k(pareto).alpha - 3) < 0.3
        True
    """
    data = resolved(np.asarray(evals, dtype=np.float64))
    count = len(data)
    last = max(_SMALLEST, min(count - 1, round(_SHARE * count)))
    if count < 2 * _SMALLEST:
        return TailEstimate("quantile_k", reason=f"{count} eigenvalues that are not zero, fewer than {2 * _SMALLEST}")
    down = data[::-1][: last + 1]
    logs = np.log(down / down[0])
    ks = np.arange(_SMALLEST, last + 1)
    gammas = np.cumsum(logs)[ks - 1] / ks - logs[ks]  # 1 / (alpha - 1), x_{k+1} not counted
    flat = -logs[ks] <= spread_of_equal(count)
    if flat.all():
        return TailEstimate("quantile_k", reason="all eigenvalues of the tail are equal")
    ranks = np.log(np.arange(1, last + 1))
    predicted = np.exp(logs[ks][:, None] + gammas[:, None] * (np.log(ks)[:, None] - ranks[None]))
    worst = np.abs(predicted - np.exp(logs[None, :last])).max(axis=1)
    worst[flat] = math.inf
    k = int(ks[worst.argmin()])
    return estimate_above("quantile_k", data, count - k)
