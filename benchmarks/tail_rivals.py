"""What else could tell a power law from the edge of a bulk, and independent eigenvalues from those that repel?

    python -m benchmarks.tail_rivals > benchmarks/results/tail_rivals.txt

The first table holds the slope of the Hill plot, by which the verdict goes, against tests of extreme value theory on
the same tails. Each limit is what noise of the same shape exceeds in 1 % of draws. Noise whose rows have unequal scales
is no power law either. The second table is about the spread of alpha. Seeded.
"""

import math
from collections.abc import Callable

import numpy as np

from alpha_callbacks.estimators.spread import (
    INDEPENDENT,
    REPELLING,
    TWO_SIDED,
    alpha_spread,
    interval_by_spacings,
    spacing_ratio,
)
from alpha_callbacks.estimators.verdict import hill_slope
from benchmarks.tails import Draw, heavy_entries, independent, noise, planted, verdict_of

MANY, FEW = 200, 100


def uneven(n: int, long: int, scale: float) -> Draw:
    """Return draws of noise each row of which is multiplied by exp(scale * a normal number)."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        matrix = rng.standard_normal((n, long)) * np.exp(scale * rng.standard_normal((n, 1)))
        return np.asarray(np.linalg.eigvalsh(matrix @ matrix.T)[::-1])

    return draw


def greenwood(evals: np.ndarray, k: int) -> float:
    """Return mean(y^2) / mean(y)^2 of the excesses over x_min (Neves and Fraga Alves 2007): 2 between the domains."""
    excess = evals[:k] - evals[k]
    return float((excess**2).mean() / excess.mean() ** 2)


def moment(evals: np.ndarray, k: int) -> float:
    """Return the extreme value index by moments of the logarithms (Dekkers, Einmahl and de Haan 1989)."""
    logs = np.log(evals[:k] / evals[k])
    first, second = float(logs.mean()), float((logs**2).mean())
    return first + 1 - 0.5 / (1 - first**2 / second)


def pickands(evals: np.ndarray, k: int) -> float:
    """Return the extreme value index by three eigenvalues (Pickands 1975)."""
    at = k // 4
    one, two, four = (float(evals[each * at - 1]) for each in (1, 2, 4))
    return math.log((one - two) / (two - four)) / math.log(2)


RIVALS: dict[str, Callable[[np.ndarray, int], float]] = {
    "slope": hill_slope,
    "Greenwood": greenwood,
    "moments": moment,
    "Pickands": pickands,
}


def print_rivals() -> None:
    """Print the share of draws that each test takes for a power law."""
    print(f"Share of {MANY} draws beyond a limit that 1 % of noise of the shape exceeds; now: slope above -1/3\n")
    print(f"{'drawn':<34}{'now':>7}" + "".join(f"{name:>11}" for name in RIVALS))
    for n, long in ((128, 128), (256, 256), (256, 1024)):
        null = _measured(noise(n, long), n, 1000)
        limits = {name: float(np.quantile(values, 0.99)) for name, values in null.items()}
        print(f"{f'{n}x{long}, limit':<34}{-1 / 3:>7.2f}" + "".join(f"{limits[name]:>11.2f}" for name in RIVALS))
        drawn = {f"planted tail, alpha {exponent:g}": planted(n, long, exponent, 0.15, 0.5) for exponent in (3.0, 4.0)}
        drawn |= {f"noise, row scales exp({scale:g} z)": uneven(n, long, scale) for scale in (0.1, 0.2, 0.4)}
        for what, draw in drawn.items():
            found = _measured(draw, n, MANY)
            shares = "".join(f"{float((found[name] > limits[name]).mean()):>11.0%}" for name in RIVALS)
            print(f"    {what:<30}{float((found['slope'] > -1 / 3).mean()):>7.0%}{shares}", flush=True)


def _measured(draw: Draw, n: int, many: int) -> dict[str, np.ndarray]:
    rng, k = np.random.default_rng(n), max(10, n // 10)
    spectra = [draw(rng) for _ in range(many)]
    return {name: np.array([rival(evals, k) for evals in spectra]) for name, rival in RIVALS.items()}


def print_spacings() -> None:
    """Print how often an interval covers that is the i.i.d. guide where spacings look independent."""
    middle = (REPELLING + INDEPENDENT) / 2
    print("\nalpha +- 1.96 spreads holds the mean of all draws; by spacings: the i.i.d. guide where the mean ratio of")
    print(
        f"neighbouring spacings of the tail is below {middle:.2f} (repelling {REPELLING}, independent {INDEPENDENT})\n"
    )
    print(f"{'drawn':<34}{'ratio':>7}{'as it is':>10}{'by spacings':>13}{'width / sd':>12}")
    drawn: dict[str, tuple[Draw, tuple[int, int]]] = {
        f"noise {n}x{long}": (noise(n, long), (n, long)) for n, long in ((64, 64), (256, 256), (256, 1024))
    }
    drawn |= {f"planted tail, alpha {a:g}, 256x256": (planted(256, 256, a, 0.15, 0.5), (256, 256)) for a in (2.0, 4.0)}
    drawn |= {f"Pareto entries, index {a:g}": (heavy_entries(256, 256, a), (256, 256)) for a in (1.0, 1.5)}
    drawn |= {f"independent power law, alpha {a:g}": (independent(256, a), (256, 256)) for a in (2.0, 3.0)}
    for what, (draw, shape) in drawn.items():
        rng = np.random.default_rng(1)
        spectra = [draw(rng) for _ in range(MANY)]
        fits = [verdict_of(evals, shape)[1:] for evals in spectra]
        alphas, k = np.array([alpha for alpha, _ in fits]), fits[0][1]
        ratios = np.array([spacing_ratio(evals, k) for evals in spectra])
        now = np.array([alpha_spread(alpha, k, min(shape)) for alpha in alphas])
        other = np.where(ratios < middle, (alphas - 1) / math.sqrt(k), now)
        far = np.abs(alphas - alphas.mean())
        covers = [float((far <= TWO_SIDED * spread).mean()) for spread in (now, other)]
        print(
            f"{what:<34}{ratios.mean():>7.2f}{covers[0]:>10.0%}{covers[1]:>13.0%}{other.mean() / alphas.std():>12.1f}",
            flush=True,
        )


def print_coverage() -> None:
    """Print how often both intervals hold the mean of all draws, for tails of several sizes and exponents."""
    shares = (0.05, 0.1, 0.25)
    print(f"\nThe same for tails of k = share of n, {FEW} draws each: as it is, by spacings\n")
    print(f"{'drawn, 256 eigenvalues':<34}" + "".join(f"{f'k/n = {share:g}':>15}" for share in shares))
    drawn = {f"noise {n}x{long}": noise(n, long) for n, long in ((256, 256), (256, 1024))}
    drawn |= {f"planted tail, alpha {a:g}, 256x512": planted(256, 512, a, 0.3, 0.5) for a in (2.0, 3.0, 4.0, 5.0, 6.0)}
    drawn |= {f"Pareto entries, index {a:g}": heavy_entries(256, 256, a) for a in (1.0, 1.5)}
    drawn |= {f"independent power law, alpha {a:g}": independent(256, a) for a in (2.0, 4.0, 6.0)}
    for what, draw in drawn.items():
        rng = np.random.default_rng(2)
        logs = [np.log(draw(rng)) for _ in range(FEW)]
        cells = []
        for share in shares:
            k = int(share * 256)
            alphas = np.array([1 + k / (each[:k] - each[k]).sum() for each in logs])
            found = [interval_by_spacings(np.exp(each), a, k) for each, a in zip(logs, alphas, strict=True)]
            far, mean = np.abs(alphas - alphas.mean()), alphas.mean()
            now = np.mean([gap <= TWO_SIDED * alpha_spread(a, k, 256) for gap, a in zip(far, alphas, strict=True)])
            other = np.mean([one["alpha_low"] <= mean <= one["alpha_high"] for one in found])
            cells.append(f"{f'{now:.0%}, {other:.0%}':>15}")
        print(f"{what:<34}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    print_rivals()
    print_spacings()
    print_coverage()
