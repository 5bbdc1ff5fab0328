"""How often the verdict on a tail errs, how far alpha really spreads, and what both and the estimators cost.

    python -m benchmarks.tails > benchmarks/results/tails.txt

Noise is drawn as the bidiagonal form of a Gaussian matrix (Dumitriu and Edelman 2002), which has the same spectrum; the
others as matrices. Seeded.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.estimators.all_estimators import OF_SPECTRA
from alpha_callbacks.estimators.hill import Hill, hill_alpha
from alpha_callbacks.estimators.spread import TWO_SIDED, alpha_spread
from alpha_callbacks.estimators.verdict import Verdict, judge
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory

Draw = Callable[[np.random.Generator], np.ndarray]


def noise(n: int, long: int) -> Draw:
    """Return draws of the eigenvalues of an n x long Gaussian matrix, descending."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        diagonal = rng.chisquare(long - np.arange(n))
        below = rng.chisquare(n - 1 - np.arange(n - 1))
        main = diagonal.copy()
        main[1:] += below
        found = eigvalsh_tridiagonal(main, np.sqrt(diagonal[:-1] * below))
        return np.asarray(np.clip(found[::-1], 0, None))

    return draw


def planted(n: int, long: int, exponent: float, share: float, size: float) -> Draw:
    """Return draws of noise with a low-rank part added, whose eigenvalues follow a power law.

    The part has `share` of n directions, its eigenvalues are `size` times the edge of noise and larger.
    """
    count = round(share * n)
    edge = long * (1 + math.sqrt(n / long)) ** 2
    values = size * edge * (np.arange(1, count + 1) / count) ** (-1 / (exponent - 1))

    def draw(rng: np.random.Generator) -> np.ndarray:
        left, right = (np.linalg.qr(rng.standard_normal((side, count)))[0] for side in (n, long))
        matrix = rng.standard_normal((n, long)) + (left * np.sqrt(values)) @ right.T
        return np.asarray(np.linalg.eigvalsh(matrix @ matrix.T)[::-1])

    return draw


def spiked(n: int, long: int, spikes: int, size: float) -> Draw:
    """Return draws of noise with a few equal directions added: heavier than noise, and no power law."""
    edge = long * (1 + math.sqrt(n / long)) ** 2

    def draw(rng: np.random.Generator) -> np.ndarray:
        matrix = rng.standard_normal((n, long))
        left, right = (np.linalg.qr(rng.standard_normal((side, spikes)))[0] for side in (n, long))
        matrix = matrix + math.sqrt(size * edge) * left @ right.T
        return np.asarray(np.linalg.eigvalsh(matrix @ matrix.T)[::-1])

    return draw


def heavy_entries(n: int, long: int, exponent: float) -> Draw:
    """Return draws of a matrix of independent Pareto-distributed entries with random signs."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        matrix = rng.pareto(exponent, (n, long)) * rng.choice((-1.0, 1.0), (n, long))
        return np.asarray(np.linalg.eigvalsh(matrix @ matrix.T)[::-1].clip(0))

    return draw


def independent(n: int, exponent: float) -> Draw:
    """Return independent draws of a power law: no matrix, but what the limit of the KS distance was made for."""
    return lambda rng: np.sort(rng.pareto(exponent - 1, n) + 1)[::-1]


def verdict_of(evals: np.ndarray, shape: tuple[int, int]) -> tuple[Verdict, float, int]:
    """Return the verdict, alpha and k of a spectrum with the default tail."""
    hill = Hill()
    k = hill.tail_size(len(evals))
    fit = hill_alpha(torch.from_numpy(np.ascontiguousarray(evals)), k=k)
    found = judge(evals, alpha=fit.alpha, k=k, ks_distance=fit.ks_distance, null=hill.null(*shape), shape=shape)
    return found, fit.alpha, k


def cases() -> Iterator[tuple[str, tuple[int, int], Draw, int]]:
    """Yield (what, shape, draws, how many)."""
    for n, long, many in ((64, 64, 400), (64, 256, 400), (256, 256, 300), (256, 1024, 300), (1024, 1024, 60)):
        yield f"noise {n}x{long}", (n, long), noise(n, long), many
    for exponent in (2.0, 3.0, 4.0):
        for n, long in ((256, 256), (256, 1024)):
            what = f"planted tail, alpha {exponent:g}, {n}x{long}"
            yield what, (n, long), planted(n, long, exponent, 0.15, 0.5), 60
    for exponent in (2.0, 3.0, 4.0):
        yield f"independent power law, alpha {exponent:g}, 256", (256, 256), independent(256, exponent), 300
    for exponent in (1.0, 1.5):
        yield f"Pareto entries, index {exponent:g}, 256x256", (256, 256), heavy_entries(256, 256, exponent), 60
    for n, spikes, size in (
        (64, 2, 4.0), (64, 3, 4.0), (128, 2, 4.0), (128, 3, 4.0), (256, 1, 4.0), (256, 3, 4.0), (256, 4, 2.0),
        (256, 4, 4.0), (256, 12, 4.0), (256, 20, 1.5), (64, 1, 4.0), (64, 2, 2.0), (64, 3, 1.5), (128, 2, 1.5),
        (256, 4, 1.2),
    ):  # fmt: skip
        yield f"{spikes} equal spikes {size:g} x edge, {n}x{n}", (n, n), spiked(n, n, spikes, size), 60


def print_verdicts() -> None:
    """Print the share of each verdict, and how alpha spreads over draws."""
    print("Verdicts and spread over draws, k = 10 % (10 at least)")
    print("covers: share of draws whose alpha +- 1.96 alpha_spread holds the mean alpha of all draws;")
    print(
        "apart: share of pairs of draws that are said to have moved; guide / sd: width of the i.i.d. guide, relative\n"
    )
    head = f"{'drawn':<42}{'draws':>6}{'none':>7}{'doubt':>7}{'clear':>7}"
    print(f"{head}{'alpha':>8}{'sd':>8}{'spread':>8}{'guide/sd':>10}{'covers':>8}{'apart':>8}  main reasons for doubt")
    for seed, (what, shape, draw, many) in enumerate(cases()):
        rng = np.random.default_rng(seed)
        found = [verdict_of(draw(rng), shape) for _ in range(many)]
        shares = Counter(verdict.tail for verdict, _, _ in found)
        alphas, k, n = np.array([alpha for _, alpha, _ in found]), found[0][2], min(shape)
        spreads = np.array([alpha_spread(alpha, k, n) for alpha in alphas])
        guide = (alphas.mean() - 1) / math.sqrt(k)
        covers = float((np.abs(alphas - alphas.mean()) <= TWO_SIDED * spreads).mean())
        gaps = np.abs(alphas[1::2] - alphas[: len(alphas) // 2 * 2 : 2])
        both = np.hypot(spreads[1::2], spreads[: len(alphas) // 2 * 2 : 2])
        apart = float((gaps > TWO_SIDED * both).mean())
        words = Counter(re.sub(r"\d+ of \d+", "few", word.split(":")[0]) for v, _, _ in found if v.tail == "doubtful"
                        for word in v.reason.split("; "))  # fmt: skip
        why = ", ".join(f"{word} {count / many:.0%}" for word, count in words.most_common(2))
        share = "".join(f"{shares[name] / many:>7.0%}" for name in ("none", "doubtful", "clear"))
        print(
            f"{what:<42}{many:>6}{share}{alphas.mean():>8.2f}{alphas.std():>8.3f}{np.median(spreads):>8.3f}"
            f"{guide / alphas.std():>10.1f}{covers:>8.0%}{apart:>8.0%}  {why}",
            flush=True,
        )


def print_spread() -> None:
    """Print the standard deviation of alpha on noise in units of (alpha - 1) / k, and what `alpha_spread` says."""
    print("\nStandard deviation of alpha on noise, times k / (alpha - 1); in brackets the formula\n")
    shares = (0.05, 0.1, 0.25, 0.5)
    print(f"{'n x long':<14}{'draws':>6}" + "".join(f"{f'k/n = {share:g}':>16}" for share in shares))
    for n, many in ((64, 600), (256, 300), (1024, 60)):
        for aspect in (1, 4, 16):
            rng = np.random.default_rng(n + aspect)
            logs = [np.log(noise(n, n * aspect)(rng)) for _ in range(many)]
            texts = []
            for share in shares:
                k = int(share * n)
                alphas = np.array([1 + k / (log[:k] - log[k]).sum() for log in logs])
                unit = (alphas.mean() - 1) / k
                texts.append(f"{alphas.std() / unit:.2f} ({alpha_spread(alphas.mean(), k, n) / unit:.2f})")
            print(f"{f'{n} x {n * aspect}':<14}{many:>6}" + "".join(f"{text:>16}" for text in texts), flush=True)


def print_costs() -> None:
    """Print CPU time beside that of a solve, and of the verdict beside that of a row at three precisions."""
    print("\nCPU time on one thread, ms: of the eigenvalues of a Gram matrix, then of what is made from them;")
    print("row: `analyze_weight` at fp32, fp16 and bf16 (three decompositions), verdict / row: its three verdicts\n")
    names = ("verdict", *OF_SPECTRA)
    titles = "".join(f"{name:>12}" for name in names)
    print(f"{'n':<8}{'solve':>10}{titles}{'all / solve':>13}{'row':>10}{'verdicts / row':>16}")
    torch.set_num_threads(1)
    for n in (64, 192, 576, 1024, 2048, 4096):
        linear = torch.nn.Linear(n, n, bias=False)
        torch.nn.init.trunc_normal_(linear.weight, std=0.02)
        matrix = linear.weight.detach().double()
        evals = torch.linalg.eigvalsh(matrix @ matrix.T).flip(0).clamp(min=0).numpy().copy()
        solve = _cpu(partial(_solve, matrix))
        k = Hill().tail_size(n)
        # Values with which nothing is decided early.
        verdict = _cpu(partial(judge, evals, alpha=2.0, k=k, ks_distance=0.1, null=7.0, shape=(n, n)))
        times = [verdict, *(_cpu(partial(fit, evals)) for fit in OF_SPECTRA.values())]
        cells = "".join(f"{1e3 * seconds:>12.2f}" for seconds in times)
        line = f"{n:<8}{1e3 * solve:>10.1f}{cells}{sum(times) / solve:>13.1%}"
        if n <= 1024:
            options = AnalysisOptions()
            weight = module_inventory(torch.nn.Sequential(linear), options).weights[0]
            row = _cpu(partial(analyze_weight, weight, options))
            line += f"{1e3 * row:>10.1f}{3 * verdict / row:>16.2%}"
        print(line, flush=True)


def _solve(matrix: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.eigvalsh(matrix @ matrix.T)
    return found


def _cpu(make: Callable[[], object]) -> float:
    """Return the least CPU time of a few calls, s; of short calls, that of 200 in turn."""
    tries, calls = [], 1
    for _ in range(5):
        start = time.process_time()
        for _ in range(calls):
            make()
        tries.append((time.process_time() - start) / calls)
        if tries[0] > 1:
            break
        calls = 200 if tries[0] < 0.004 else 1
    return min(tries)


if __name__ == "__main__":
    print_verdicts()
    print_spread()
    print_costs()
