"""Try to break the bounds of certified alphas: worst-case changes of hard spectra, each against a full decomposition.

    python -m benchmarks.certificate --count 20000 > benchmarks/results/certificate.txt   # a few minutes
    python -m benchmarks.certificate --count 500

A case is a matrix of known singular vectors, a change of it, a number of vectors and a threshold. Spectra: flat bulk,
power law, cluster around the threshold, plateau across it, spikes, exact rank deficiency; 2 to 47 eigenvalues, square
or up to three times as long, entries of any size that fp32 has. Changes: noise, the rounding of real formats, and
rank-one and rank-two changes that turn the threshold's vectors into the complement, raise the complement, or both.
What is proved (`TopSpace`, `StripMeter`, `RayleighRitz`, `hill_range`) is compared with the singular values of the
changed matrix. Cases are drawn until so many have a finite proved range.
"""

import argparse
import math
import time
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from alpha_callbacks.estimators.hill import hill_alpha, tail_size
from alpha_callbacks.estimators.hill_error_bound import hill_range
from alpha_callbacks.solvers.perturbation import StripMeter
from alpha_callbacks.solvers.rayleigh_ritz import RayleighRitz
from alpha_callbacks.solvers.spectrum import spectrum
from alpha_callbacks.solvers.top_space import TopSpace

SPECTRA = ("bulk", "power law", "cluster at k", "plateau across k", "spikes", "rank deficient")
CHANGES = (
    "noise",
    "threshold into complement",
    "complement into threshold",
    "complement raised",
    "both",
    "scaled rows",
    "rounded",
)


@dataclass
class Tally:
    """What became of the cases.

    Attributes:
        cases: all of them.
        certified: those with a finite proved range, by spectrum.
        changes: the same, by change.
        violations: descriptions of ranges that the truth is outside of.
        shares: |alpha printed - truth| / bound of each certified case whose bound is more than rounding.
    """

    cases: int = 0
    certified: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    square = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    found: Tensor = torch.linalg.qr(square).Q
    return found


def singular_values(kind: str, n: int, k: int, generator: torch.Generator) -> Tensor:
    """Return n descending singular values of one kind of spectrum."""
    uniform = torch.rand(n, dtype=torch.float64, generator=generator).sort(descending=True).values
    if kind == "power law":
        return torch.arange(1, n + 1, dtype=torch.float64) ** -(0.3 + float(uniform[0]))
    if kind == "spikes":
        spikes = 10.0 ** torch.arange(4, 0, -1, dtype=torch.float64)[: max(1, k // 3)]
        return torch.cat([spikes, 1 + uniform[len(spikes) :]])
    if kind == "rank deficient":
        return torch.where(torch.arange(n) <= k + n // 4, 1 + uniform, torch.zeros(()).double())
    top = min(n, k + 3)
    if kind == "cluster at k":
        return torch.cat([2 + 1e-6 * uniform[:top], 1 + 0.9 * uniform[top:]])
    if kind == "plateau across k":
        first = k // 2
        return torch.cat([3 + uniform[:first], torch.full((top - first,), 2.0).double(), 1 + 0.8 * uniform[top:]])
    return 1 + uniform


def change_of(kind: str, u: Tensor, v: Tensor, k: int, q: int, generator: torch.Generator) -> Tensor:
    """Return a change of unit norm that is aimed at eigenvalue k + 1 or at the first vector that is left out."""
    m, n = len(u), len(v)
    beyond = min(q, n - 1)
    outer = {
        "threshold into complement": torch.outer(u[:, k], v[:, beyond]),
        "complement into threshold": torch.outer(u[:, beyond], v[:, k]),
        "complement raised": torch.outer(u[:, beyond], v[:, beyond]) - torch.outer(u[:, k], v[:, k]),
        "both": torch.outer(u[:, beyond], v[:, k]) + torch.outer(u[:, k], v[:, beyond]),
    }
    if kind in outer:
        return outer[kind]
    noise = torch.randn(m, n, dtype=torch.float64, generator=generator)
    if kind == "scaled rows":
        noise *= torch.rand(m, 1, dtype=torch.float64, generator=generator) ** 4
    of_unit_norm: Tensor = noise / torch.linalg.matrix_norm(noise, 2)
    return of_unit_norm


def attack(count: int, seed: int = 0) -> Tally:
    """Draw cases until so many are certified."""
    generator = torch.Generator().manual_seed(seed)
    tally = Tally()
    while sum(tally.certified.values()) < count:
        n = int(torch.randint(2, 48, (1,), generator=generator))
        m = n + int(torch.randint(0, 2 * n, (1,), generator=generator))
        k = tail_size(n, k_min=int(torch.randint(1, 12, (1,), generator=generator)))
        spectrum_kind = SPECTRA[int(torch.randint(0, len(SPECTRA), (1,), generator=generator))]
        u, v = _orthonormal(m, n, generator), _orthonormal(n, n, generator)
        scale = 2.0 ** int(torch.randint(-130, 100, (1,), generator=generator))
        w = u * singular_values(spectrum_kind, n, k, generator) @ v.T * scale
        q = min(n, k + 1 + int(torch.randint(0, k + 2, (1,), generator=generator)))
        if (top := _vectors(w, q)) is None:
            tally.cases += 2 * len(CHANGES)
            continue
        for kind in CHANGES + CHANGES:
            size = 10 ** float(torch.empty(1).uniform_(-9, -0.7, generator=generator))
            threshold = "next" if torch.rand(1, generator=generator) < 0.8 else "last"
            if kind == "rounded":
                e = _rounded(w, generator) - w
            else:
                e = change_of(kind, u, v, k, q, generator) * (size * float(torch.linalg.vector_norm(w)) / math.sqrt(n))
            _one(tally, f"{spectrum_kind}, {kind}", w, e, top, k, threshold)
    return tally


def _rounded(w: Tensor, generator: torch.Generator) -> Tensor:
    """Return w with 4 to 24 significant bits, flushed to zero or to subnormals as fp32 does."""
    bits = int(torch.randint(4, 25, (1,), generator=generator))
    mantissa, exponent = torch.frexp(w)
    return torch.ldexp(torch.round(mantissa * 2**bits), exponent - bits).float().double()


def _halves(w: Tensor) -> tuple[Tensor, ...]:
    return tuple(w.split(-(-len(w) // 2)))


def _vectors(w: Tensor, q: int) -> TopSpace | None:
    return spectrum(
        [lambda: iter(_halves(w))],
        w.shape[1],
        unresolved=lambda *_: "",
        absmax=float(w.abs().max()),
        solver="exact",
        device="cpu",
        wanted=lambda evals: q,
    ).top


def _one(tally: Tally, name: str, w: Tensor, e: Tensor, top: TopSpace, k: int, threshold: str) -> None:
    tally.cases += 1
    n, q, leading = w.shape[1], top.vectors.shape[1], k + (threshold == "next")
    changed = w + e
    strips, ritz = StripMeter(n, float(w.abs().max())), RayleighRitz(top.vectors, top.defect)
    strips.add(w - changed)
    for block in _halves(changed):
        ritz.add(block)
    values = ritz.result((math.sqrt(top.beyond) + strips.bound()) ** 2, leading, top.rest)
    if values is None:
        return
    low, high = hill_range(values.lower, values.upper, k=k, anchor=leading - 1)
    truth_evals = torch.linalg.svdvals(changed) ** 2
    if not math.isfinite(high):
        return
    truth = hill_alpha(truth_evals, k=k, threshold=threshold).alpha  # type: ignore[arg-type]
    printed = values.estimate.sort(descending=True).values.clamp(min=0)
    padded = torch.cat([printed, printed.new_zeros(n + 1 - len(printed))])  # the estimator wants one more than k
    alpha = hill_alpha(padded, k=k, threshold=threshold).alpha  # type: ignore[arg-type]
    for part, counter in zip(name.split(", "), (tally.certified, tally.changes), strict=True):
        counter[part] += 1
    if not low <= truth <= high:
        tally.violations.append(f"{name}: {tuple(w.shape)}, k {k}, q {q}: {low} <= {truth} <= {high}")
    bound = max(high - alpha, alpha - low)
    if not math.isfinite(alpha):
        tally.violations.append(f"{name}: {tuple(w.shape)}, k {k}, q {q}: alpha {alpha} of a proved range")
    if bound > 1e-9 * alpha:
        tally.shares.append(abs(truth - alpha) / bound)


def main() -> None:
    """Print how many cases were certified, how many were wrong, and how much of the bounds was used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="certified cases")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    tally = attack(arguments.count, arguments.seed)
    shares = torch.tensor(tally.shares, dtype=torch.float64)
    certified = sum(tally.certified.values())
    print(f"{tally.cases} cases, {certified} certified, {len(tally.violations)} violations")
    print("certified by spectrum: " + ", ".join(f"{name} {tally.certified[name]}" for name in SPECTRA))
    print("certified by change: " + ", ".join(f"{name} {tally.changes[name]}" for name in CHANGES))
    levels = ((0.5, "median"), (0.9, "90 %"), (0.99, "99 %"), (1.0, "largest"))
    used = ", ".join(f"{name} {float(torch.quantile(shares, level)):.3f}" for level, name in levels)
    print(f"share of the bound that the error takes, of {len(shares)} bounds above 1e-9: {used}")
    print(f"{time.process_time() - start:.0f} CPU seconds, seed {arguments.seed}")
    for line in tally.violations[:20]:
        print(line)


if __name__ == "__main__":
    main()
