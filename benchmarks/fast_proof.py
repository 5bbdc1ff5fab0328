"""What does `fast` cost with its proof, and does the proof hold? CPU seconds of each way, and an attack.

    python -m benchmarks.fast_proof > benchmarks/results/fast_proof.txt   # 10 minutes of one core
    python -m benchmarks.fast_proof --count 100

The first table has the CPU time of each way as a share of `exact`, and its error in alpha against it:

- unproved: fp32 Gram matrix, fp32 eigenvalues;
- mixed: fp32 Gram matrix, fp64 eigenvalues, without a proof;
- fast: fp32 Gram matrix and reduction, with the proof (`solvers.proved_single`), and the bound it prints.

The attack solves matrices by fp32 arithmetic, whether `fast` would or not, and compares with the singular values in
fp64: each leading eigenvalue with its enclosure, and alpha with its bound. Kinds: noise, spikes, graded, flat and
orthogonal, rank-deficient, clusters and plateaus at k, blocks that do not touch, few entries, huge and tiny ones; 128
to 600 eigenvalues, square or up to three times as long, in fp32, bf16 and fp64, with both thresholds and two shares of
the spectrum. After them the layers of SmolLM2-135M and all-MiniLM-L6-v2.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from safetensors import safe_open
from torch import Tensor

from alpha_callbacks.analysis.enclosed_fit import enclosed_fit
from alpha_callbacks.analysis.solve import FAST_GOAL, proof_of
from alpha_callbacks.errors import SolverError
from alpha_callbacks.estimators.estimator import StoredMatrix
from alpha_callbacks.estimators.hill import Hill, hill_alpha
from alpha_callbacks.solvers.gram_of_blocks import ScaledBlocks, gram_of
from alpha_callbacks.solvers.proved_single import Enclosure, Proof, solve_in_single
from scripts.fetch_real_weights import MINILM, default_cache, fetch
from scripts.make_smollm2_folder import FOLDER

SHAPES = ((576, 576), (1024, 1024), (3584, 1024), (2048, 2048), (4096, 4096))
LAYERS = ("model.layers.15.self_attn.q_proj", "model.layers.15.mlp.up_proj", "model.layers.15.mlp.down_proj")
BLOCK = 2048  # rows
TRUTH = 1e-12  # of the largest eigenvalue: what the singular values may be off by


def stored_of(w: Tensor) -> StoredMatrix:
    """Return what an estimator knows of a matrix."""
    rows, cols = w.shape
    return StoredMatrix(rows, cols, eps=torch.finfo(w.dtype).eps, typical=float(w.abs().median()))


def blocks(w: Tensor) -> Iterator[Tensor]:
    """Yield the matrix in blocks of rows."""
    return iter(w.split(BLOCK))


def eigenvalues(w: Tensor, product: torch.dtype, solve: torch.dtype) -> Tensor:
    """Return the eigenvalues of W^T W, descending, the product and the solution each in a dtype."""
    gram = gram_of([ScaledBlocks(partial(blocks, w), product, "cpu", 0)], w.shape[1], product, "cpu")
    evals: Tensor = torch.linalg.eigvalsh(gram.to(solve), UPLO="L")
    return evals.flip(0).double().clamp(min=0)


def proved(w: Tensor, proof: Proof) -> tuple[Tensor, float, Enclosure]:
    """Return eigenvalues by fp32 arithmetic with their proof."""
    return solve_in_single([partial(blocks, w)], w.shape[1], proof, float(w.abs().max()))


def one(name: str, w: Tensor, repeat: int) -> None:
    """Print a line of the first table; the ways take turns."""
    w = w if len(w) >= w.shape[1] else w.T.contiguous()
    hill, stored = Hill(), stored_of(w)
    k = hill.tail_size(w.shape[1])
    ways: dict[str, Callable[[], Tensor]] = {
        "exact": lambda: eigenvalues(w, torch.float64, torch.float64),
        "unproved": lambda: eigenvalues(w, torch.float32, torch.float32),
        "mixed": lambda: eigenvalues(w, torch.float32, torch.float64),
        "fast": lambda: proved(w, proof_of(hill, stored))[0],
    }
    seconds, alphas = dict.fromkeys(ways, math.inf), dict[str, float]()
    try:
        evals, squares, sides = proved(w, proof_of(hill, stored))
        found = enclosed_fit(evals, sides.lower, sides.upper, squares, hill, stored)
        bound = f"{found.bound / found.fit.alpha:9.1e}" if found else "  nothing"
    except SolverError:
        bound = "    exact"
        del ways["fast"]
    for _ in range(repeat):
        for way, task in ways.items():
            begun = time.process_time()
            evals = task()
            seconds[way] = min(seconds[way], time.process_time() - begun)
            alphas[way] = hill_alpha(evals, k=k).alpha
    line = f"{name:>34} {len(w):5d}x{w.shape[1]:<5d} {seconds['exact']:7.3f}"
    for way in list(ways)[1:]:
        line += f"  {seconds[way] / seconds['exact']:8.2f} {abs(alphas[way] / alphas['exact'] - 1):8.1e}"
    print(f"{line} {bound}", flush=True)


def costs() -> None:
    """Print the first table."""
    print(f"{'':>34} {'':11} exact s  unproved    error     mixed    error      fast    error     bound")
    for rows, cols in SHAPES:
        generator = torch.Generator().manual_seed(0)
        lines = torch.rand(cols, generator=generator) ** -0.3
        one("noise with a tail", torch.randn(rows, cols, generator=generator) * lines, 2 if cols < 4096 else 1)
    with safe_open(default_cache() / FOLDER / "model.safetensors", framework="pt") as file:
        for name in LAYERS:
            one(name, file.get_tensor(f"{name}.weight"), 3)


@dataclass
class Tally:
    """What became of the matrices of one kind.

    Attributes:
        cases: all of them.
        proved: those whose alpha was proved to the goal.
        eigenvalues: those that were enclosed, of all of them.
        violations: of bounds.
        shares: |alpha - truth| / bound of the proved ones.
        enclosed: the largest |eigenvalue - truth| / what it may be off by, of each matrix.
        bounds: relative to alpha.
    """

    cases: int = 0
    proved: int = 0
    eigenvalues: int = 0
    violations: int = 0
    shares: list[float] = field(default_factory=list)
    enclosed: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)


def with_values(values: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Return a (rows, n) matrix with these squared singular values."""
    n = len(values)
    u, v = (torch.linalg.qr(torch.randn(m, n, dtype=torch.float64, generator=generator)).Q for m in (rows, n))
    product: Tensor = (u * values.sqrt()) @ v.T
    return product


def drawn(kind: str, rows: int, n: int, k: int, generator: torch.Generator) -> Tensor:
    """Return a matrix of a kind, float64."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    noise = torch.randn(rows, n, dtype=torch.float64, generator=generator)
    size = float(uniform(1))
    if kind == "spikes":
        count = 1 + int(6 * float(uniform(1)))
        left, right = noise[:, :count].clone(), torch.randn(count, n, dtype=torch.float64, generator=generator)
        return noise + 10 ** (2 * size - 1.5) * left @ right
    if kind == "graded":
        return with_values(torch.logspace(0, -1 - 7 * size, n, dtype=torch.float64), rows, generator)
    if kind == "flat":
        return with_values(1 + 10 ** (-4 * size) * uniform(n), rows, generator)
    if kind == "orthogonal and noise":
        return with_values(torch.ones(n, dtype=torch.float64), rows, generator) + 0.1 * size * noise / math.sqrt(n)
    if kind == "rank deficient":
        rank = max(2, int(n * size))
        return noise[:, :rank] @ torch.randn(rank, n, dtype=torch.float64, generator=generator)
    if kind in ("cluster at k", "plateau across k"):
        values = (1 + uniform(n) ** -0.5).sort(descending=True).values
        width = max(2, k // 3)
        near = 0.0 if kind == "plateau across k" else 10 ** (-8 * size)
        values[max(0, k - width) : k + width] = values[k] * (
            1 + near * uniform(len(values[max(0, k - width) : k + width]))
        )
        return with_values(values, rows, generator)
    if kind == "two blocks":
        noise[: rows // 2, n // 2 :] = 0
        noise[rows // 2 :, : n // 2] = 0
        noise[rows // 2 :] *= 10 ** (2 * size)
    if kind == "columns":
        noise *= uniform(n) ** (-0.6 * size)
    if kind == "few entries":
        noise *= uniform(rows, n) < 0.02
    if kind == "mean":  # every entry has the same sign
        noise += 3 * size
    if kind == "huge or tiny":
        noise *= 10.0 ** (60 * size - 30)
    return noise


KINDS = (
    "noise", "spikes", "graded", "flat", "orthogonal and noise", "rank deficient", "cluster at k", "plateau across k",
    "two blocks", "columns", "few entries", "mean", "huge or tiny",
)  # fmt: skip


def attack(w: Tensor, hill: Hill, tally: Tally) -> None:
    """Compare the proof of one matrix with its singular values."""
    w = w if len(w) >= w.shape[1] else w.T.contiguous()
    stored = stored_of(w)
    tally.cases += 1
    own = proof_of(hill, stored)
    evals, squares, sides = proved(w, Proof(own.leading, lambda *_: ""))
    truth = torch.linalg.svdvals(w.double()) ** 2
    top = truth[: own.leading]
    slack = TRUTH * float(truth[0])
    outside = (top < sides.lower - slack) | (top > sides.upper + slack)
    tally.eigenvalues += len(top)
    tally.enclosed.append(float(((evals[: len(top)] - top).abs() / ((sides.upper - sides.lower) / 2 + slack)).max()))
    wrong = int(outside.sum())
    if not own.refusal(evals, squares, sides):
        found = enclosed_fit(evals, sides.lower, sides.upper, squares, hill, stored)
        fit = hill.fit(truth, squares, stored)
        assert found is not None
        tally.proved += 1
        off = abs(found.fit.alpha - fit.alpha)
        wrong += fit.status != "ok" or not off <= found.bound
        tally.shares.append(off / found.bound)
        tally.bounds.append(found.bound / found.fit.alpha)
    if wrong:
        tally.violations += wrong
        print(f"VIOLATION: {tuple(w.shape)} {w.dtype} {hill}", flush=True)


def attacks(count: int) -> None:
    """Print the second table."""
    tallies = {kind: Tally() for kind in (*KINDS, "SmolLM2-135M", "all-MiniLM-L6-v2")}
    dtypes, drawn_of = (torch.float32, torch.float32, torch.bfloat16, torch.float64), Counter[str]()
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        generator = torch.Generator().manual_seed(index)
        n = int(128 + (600 - 128) * float(torch.rand(1, generator=generator)) ** 2)
        rows = int(n * (1, 1, 1.5, 3)[drawn_of[kind] % 4])
        hill = Hill(k_frac=0.5 if index % 5 == 4 else 0.1, threshold="last" if index % 3 == 2 else "next")
        dtype = dtypes[drawn_of[kind] % len(dtypes)]
        w = drawn(kind, rows, n, hill.tail_size(n), generator)
        drawn_of[kind] += 1
        attack(
            w.to(dtype if kind != "huge or tiny" or dtype is not torch.float64 else torch.float32), hill, tallies[kind]
        )
    files = (default_cache() / FOLDER / "model.safetensors", fetch(MINILM, "model.safetensors", default_cache()))
    for name, path in zip(("SmolLM2-135M", "all-MiniLM-L6-v2"), files, strict=True):
        with safe_open(path, framework="pt") as file:
            for index, key in enumerate(sorted(file.keys())):
                shape = file.get_slice(key).get_shape()
                if len(shape) == 2 and min(shape) >= 128 and max(shape) < 10_000 and index % 3 == 0:
                    attack(file.get_tensor(key), Hill(), tallies[name])
    print(f"{'':>22} {'':8} {'':7} {'':10} {'bound of alpha':>18} {'part of it used':>19} {'part of an':>14}")
    names = ("matrices", "proved", "violations", "middle", "largest", "middle", "largest", "interval used")
    widths = (8, 7, 10, 9, 8, 10, 8, 14)
    print(f"{'':>22} " + " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    whole = Tally()
    for kind, tally in tallies.items():
        print(line_of(kind, tally))
        for name in ("shares", "enclosed", "bounds"):
            getattr(whole, name).extend(getattr(tally, name))
        for name in ("cases", "proved", "eigenvalues", "violations"):
            setattr(whole, name, getattr(whole, name) + getattr(tally, name))
    print(line_of("all", whole))
    print(f"{whole.cases} matrices, {whole.proved} proved to {FAST_GOAL:g} of alpha, {whole.eigenvalues} eigenvalues")
    print(f"enclosed, {whole.violations} violations")


def line_of(kind: str, tally: Tally) -> str:
    """Return a line of the second table."""
    bounds, shares, enclosed = (torch.tensor(v or [math.nan]) for v in (tally.bounds, tally.shares, tally.enclosed))
    return (
        f"{kind:>22} {tally.cases:8d} {tally.proved:7d} {tally.violations:10d} {float(bounds.median()):9.1e} "
        f"{float(bounds.max()):8.1e} {float(shares.median()):10.4f} {float(shares.max()):8.4f} "
        f"{float(enclosed.max()):14.3f}"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2080, help="matrices of the attack beside the real ones")
    parser.add_argument("--only", choices=("costs", "attack"), help="one of the two tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, CPU seconds, one thread, least of two or three")
    if arguments.only != "attack":
        costs()
    if arguments.only != "costs":
        attacks(arguments.count)


if __name__ == "__main__":
    main()
