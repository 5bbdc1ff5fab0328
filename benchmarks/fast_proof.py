"""What would it cost to prove `fast`, or to better it? CPU time of each way as a share of `exact`, and its error.

    python -m benchmarks.fast_proof > benchmarks/results/fast_proof.txt   # half a minute of one core

- fast: fp32 Gram matrix, fp32 eigenvalues, as `solver="fast"` does;
- mixed: fp32 Gram matrix, fp64 eigenvalues;
- proved: fast; the top vectors, counted as half the time of those in fp64; a Cholesky factor in fp64 of what is outside
  them; one Rayleigh-Ritz step in fp64. It is the least that a proof takes: no fp32 vectors are made here;
- by rounding: what the rounding of a product in fp32 (sums of 512 rows) leaves open, proved, as a share of alpha.

Errors are those of alpha against `exact`.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.estimators.hill import hill_alpha, tail_size
from alpha_callbacks.estimators.hill_error_bound import hill_range
from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.solvers.rayleigh_ritz import RayleighRitz
from alpha_callbacks.solvers.spectrum import spectrum
from alpha_callbacks.solvers.top_space import TopSpaceSolver
from scripts.fetch_real_weights import default_cache
from scripts.make_smollm2_folder import FOLDER

SHAPES = ((1024, 1024), (3584, 1024), (2048, 2048))
LAYERS = ("model.layers.15.self_attn.q_proj", "model.layers.15.mlp.up_proj", "model.layers.15.mlp.down_proj")
SINGLE = 2.0**-24
COLUMNS = 1.3  # vectors / eigenvalues that alpha takes


def timed(task: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Return the least CPU seconds of a few tries, and the last result."""
    best = math.inf
    for _ in range(repeat):
        begun = time.process_time()
        found = task()
        best = min(best, time.process_time() - begun)
    return best, found


def halves(w: Tensor) -> Iterator[Tensor]:
    """Yield the matrix in blocks of 2048 rows."""
    return iter(w.split(2048))


def gram_of(w: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the Gram matrix, its lower triangle filled."""
    gram = torch.zeros(w.shape[1], w.shape[1], dtype=dtype)
    for block in halves(w):
        add_gram(block.to(dtype), gram)
    return gram


def solved(w: Tensor, solver: str) -> Tensor:
    """Return the eigenvalues by one of the package's solvers."""
    return spectrum(
        [lambda: halves(w)], w.shape[1], unresolved=lambda *_: "", absmax=float(w.abs().max()),
        solver=solver, device="cpu",  # type: ignore[arg-type]
    ).evals  # fmt: skip


def proof(w: Tensor, q: int, repeat: int) -> float:
    """Return the CPU seconds of what a proof adds to the eigenvalues."""
    gram = gram_of(w, torch.float64)
    solver = TopSpaceSolver(gram, frobenius_sq=float(torch.linalg.vector_norm(w.double()) ** 2), summed=len(w))
    vectors, form = timed(lambda: solver._form.vectors(q), 1)
    begun = time.process_time()
    top = solver.top(q)
    outside = time.process_time() - begun - vectors  # of the two, what is not vectors

    def step() -> None:
        ritz = RayleighRitz(top.vectors, top.defect)
        for block in halves(w):
            ritz.add(block.double())
        ritz.result(top.beyond, round(q / COLUMNS), top.rest)

    return vectors / 2 + outside + timed(step, repeat)[0]


def one(name: str, w: Tensor, repeat: int) -> None:
    """Print a line."""
    w = w if len(w) >= w.shape[1] else w.T.contiguous()
    n = w.shape[1]
    k = tail_size(n)
    ways: dict[str, Callable[[], Tensor]] = {
        "exact": lambda: solved(w, "exact"),
        "fast": lambda: solved(w, "fast"),
        "mixed": lambda: torch.linalg.eigvalsh(gram_of(w, torch.float32).double(), UPLO="L").flip(0),
    }
    seconds, alphas, evals = {}, {}, {}
    for way, task in ways.items():
        seconds[way], evals[way] = timed(task, repeat)
        alphas[way] = hill_alpha(evals[way], k=k).alpha
    seconds["proved"] = seconds["fast"] + proof(w, math.ceil(COLUMNS * (k + 1)), repeat)
    slack = 512 * SINGLE * 1.01 * float(torch.linalg.vector_norm(w.double()) ** 2)
    top = evals["exact"][: k + 1]
    low, high = hill_range((top - slack).clamp(min=1e-300), top + slack, k=k, anchor=k)
    off = {way: abs(alphas[way] / alphas["exact"] - 1) for way in ("fast", "mixed")}
    shares = {way: seconds[way] / seconds["exact"] for way in ("fast", "mixed", "proved")}
    print(
        f"{name:>34} {len(w):5d}x{n:<5d} {seconds['exact']:7.3f}  {shares['fast']:5.2f} {off['fast']:8.1e}  "
        f"{shares['mixed']:5.2f} {off['mixed']:8.1e}  {shares['proved']:6.2f}  {(high - low) / alphas['exact']:11.1e}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    from safetensors import safe_open

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, CPU seconds, one thread, least of two")
    print(f"{'':>34} {'':11} exact s   fast    error  mixed    error  proved  by rounding")
    for rows, cols in SHAPES:
        generator = torch.Generator().manual_seed(0)
        lines = torch.rand(cols, generator=generator) ** -0.3
        one("noise with a tail", torch.randn(rows, cols, generator=generator) * lines, 2)
    with safe_open(default_cache() / FOLDER / "model.safetensors", framework="pt") as file:
        for name in LAYERS:
            one(name, file.get_tensor(f"{name}.weight"), 2)


if __name__ == "__main__":
    main()
