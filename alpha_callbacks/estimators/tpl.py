"""The power law with an exponential cut-off, and likelihood ratios of a power law against its rivals."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alpha_callbacks.estimators.csn import best_start
from alpha_callbacks.estimators.tail_estimate import TailEstimate, resolved, spread_of_equal

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_NEGLIGIBLE = 45.0  # in logs: exp(-45) of the peak is nothing to fp64
_STEPS = 200


@dataclass(frozen=True)
class Rival:
    """A distribution fitted to the tail by maximum likelihood.

    Attributes:
        logs: ln of its density at each eigenvalue, in units of x_min: shape (n,).
        parameters: name -> value; scales in units of x_min.
    """

    logs: np.ndarray
    parameters: dict[str, float]


def tpl(evals: np.ndarray) -> TailEstimate:
    """Fit x^-alpha exp(-Lambda x) above the x_min of `csn`, alpha >= 0 and Lambda >= 0, and compare with its rivals.

    `more` has `Lambda` (per weight squared), and for the plain power law of `csn` against "truncated" (this fit, which
    contains it), "lognormal" and "exponential": `R_vs_<name>`, the log-likelihood ratio divided by its standard
    deviation (negative: the rival fits better), and `p_vs_<name>`, the probability of an |R| as large where neither is
    better; below 0.1 the sign of R counts. Eigenvalues are no independent draws, so p is a guide.

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.

    Returns:
        The fit; its KS distance is that of the truncated law.

    Source: Clauset, Shalizi and Newman 2009; Vuong 1989 for the ratios. Agrees with powerlaw 2.0 with bounds lifted.

    Examples:
        >>> pareto = (np.arange(1, 201) / 200) ** -0.5  # alpha = 3
        >>> fit = tpl(pareto)
        >>> fit.alpha < 3.1, fit.more["R_vs_exponential"] > 0
        (True, True)
    """
    data = resolved(np.asarray(evals, dtype=np.float64))
    if len(data) < 8:
        return TailEstimate("tpl", reason=f"{len(data)} eigenvalues that are not zero, fewer than 8")
    start = best_start(data)
    x_min = float(data[start])
    u = np.log(data[start:] / x_min)
    n, mean = len(u), float(u.mean())
    if u[-1] <= spread_of_equal(len(data)):
        return TailEstimate("tpl", reason="all eigenvalues of the tail are equal")
    power = math.log(1 / mean) - (1 + 1 / mean) * u
    cut = truncated(u)
    rivals = {"truncated": cut, "lognormal": lognormal(u), "exponential": exponential(u)}
    more = {"Lambda": cut.parameters["Lambda"] / x_min}
    for name, rival in rivals.items():
        more[f"R_vs_{name}"], more[f"p_vs_{name}"] = likelihood_ratio(power, rival.logs, nested=rival is cut)
    alpha = cut.parameters["alpha"]
    gap = _largest_gap(u, alpha, cut.parameters["Lambda"])
    return TailEstimate("tpl", alpha, n, x_min, gap, math.nan, more=more)


def likelihood_ratio(ours: np.ndarray, theirs: np.ndarray, *, nested: bool = False) -> tuple[float, float]:
    """Return (R / its standard deviation, p) of two fits, from their log-densities at each eigenvalue.

    Nested models follow a chi-squared law of one degree of freedom (Wilks), others a normal one (Vuong).
    """
    differences = ours - theirs
    ratio, spread = float(differences.sum()), float(differences.std()) * math.sqrt(len(differences))
    if spread == 0:
        return 0.0, 1.0
    p = math.erfc(math.sqrt(abs(ratio))) if nested else math.erfc(abs(ratio) / spread / math.sqrt(2))
    return ratio / spread, p


def exponential(u: np.ndarray) -> Rival:
    """Fit Lambda exp(-Lambda (t - 1)) to t = exp(u) >= 1."""
    t = np.exp(u)
    rate = 1 / float(t.mean() - 1)
    return Rival(math.log(rate) - rate * (t - 1), {"Lambda": rate})


def lognormal(u: np.ndarray) -> Rival:
    """Fit a lognormal law, cut off below 1, to t = exp(u) >= 1: in u a normal law cut off below 0."""

    def statistics(v: np.ndarray) -> np.ndarray:
        return np.stack([v, v * v])

    mean, variance = float(u.mean()), float(u.var())
    if variance >= mean**2:  # then no lognormal law beats its limit mu -> -inf, which is the power law itself
        return Rival(math.log(1 / mean) - (1 + 1 / mean) * u, {"mu": -math.inf, "sigma": math.inf})
    start = np.array([mean / variance, -0.5 / variance])
    found, normalizer = _fit(u, statistics, start, lambda eta: eta[1] < 0)
    scale = -0.5 / found[1]
    parameters = {"mu": float(found[0] * scale), "sigma": math.sqrt(scale)}
    return Rival(found @ statistics(u) - normalizer - u, parameters)


def truncated(u: np.ndarray) -> Rival:
    """Fit t^-alpha exp(-Lambda t) to t = exp(u) >= 1, alpha >= 0 and Lambda >= 0."""

    def statistics(v: np.ndarray) -> np.ndarray:
        return np.stack([v, np.exp(np.minimum(v, 700.0))])

    t_mean, mean = float(np.exp(u).mean()), float(u.mean())
    found, normalizer = _fit(u, statistics, np.array([-1 / mean, -0.1 / t_mean]), lambda eta: eta[1] < -1e-12 / t_mean)
    if 1 - found[0] < 0:  # alpha < 0: the best one allowed is the exponential law
        rival = exponential(u)
        return Rival(rival.logs, {"alpha": 0.0, **rival.parameters})
    logs = found @ statistics(u) - normalizer - u
    power = math.log(1 / mean) - (1 + 1 / mean) * u
    if power.sum() >= logs.sum():  # no cut-off: the plain power law
        return Rival(power, {"alpha": 1 + 1 / mean, "Lambda": 0.0})
    return Rival(logs, {"alpha": float(1 - found[0]), "Lambda": float(-found[1])})


def _fit(
    u: np.ndarray,
    statistics: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    allowed: Callable[[np.ndarray], bool],
) -> tuple[np.ndarray, float]:
    """Maximise the likelihood of exp(eta . statistics(v)) / Z on v >= 0, and return (eta, ln Z).

    The log-likelihood of an exponential family is concave, so Newton's steps, halved while they lose or leave what is
    allowed, find its one maximum, or stop at the border.
    """
    means = statistics(u).mean(axis=1)
    eta = start
    value, gradient, curvature, normalizer = _moments(eta, statistics, means, u)
    for _ in range(_STEPS):
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            break
        size = 1.0
        while size > 1e-12:
            tried = eta + size * step
            if allowed(tried):
                found = _moments(tried, statistics, means, u)
                if found[0] > value:
                    break
            size /= 2
        else:
            break
        gained = found[0] - value
        eta, (value, gradient, curvature, normalizer) = tried, found
        if gained < 1e-14 * max(1.0, abs(value)):
            break
    return eta, normalizer


def _moments(
    eta: np.ndarray, statistics: Callable[[np.ndarray], np.ndarray], means: np.ndarray, u: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Return (log-likelihood per eigenvalue, gradient, minus Hessian, ln Z) at eta, by Gauss-Legendre quadrature."""

    def log_density(v: np.ndarray) -> np.ndarray:
        return np.asarray(eta @ statistics(v))

    end = float(u[-1]) or 1.0
    peak = float(log_density(np.linspace(0, end, 64)).max())
    while float(log_density(np.array([end]))[0]) > peak - _NEGLIGIBLE and end < 1e6:
        end *= 1.5
        peak = max(peak, float(log_density(np.array([end]))[0]))
    nodes = np.concatenate([(_NODES + 1) * end / 16 + part * end / 8 for part in range(8)])
    weights = np.tile(_WEIGHTS * end / 16, 8)
    s = statistics(nodes)
    logs = eta @ s
    top = float(logs.max())
    mass = weights * np.exp(logs - top)
    total = float(mass.sum())
    normalizer = top + math.log(total)
    expected = s @ mass / total
    centred = s - expected[:, None]
    curvature = (centred * mass) @ centred.T / total
    return float(eta @ means) - normalizer, means - expected, curvature, normalizer


def _largest_gap(u: np.ndarray, alpha: float, rate: float) -> float:
    """Return the KS distance of t = exp(u) from t^-alpha exp(-rate t), both on t >= 1."""
    end = max(float(u[-1]) * 2, 1.0) if alpha > 1 else max(float(u[-1]), math.log(1 + 60 / max(rate, 1e-12)))
    grid = np.linspace(0, end, 20_001)
    logs = (1 - alpha) * grid - rate * np.exp(grid)
    density = np.exp(logs - logs.max())
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    fitted = 1 - np.exp((1 - alpha) * u) if rate == 0 else np.interp(u, grid, mass / mass[-1])
    return float(np.abs(fitted - np.arange(len(u)) / len(u)).max())
