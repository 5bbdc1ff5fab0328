"""Time the package of this folder, one JSON request per line in and one answer per line out; `benchmarks.methods` asks.

It is copied into the tree of an earlier commit to time that one beside this one, so it uses only what both have.
"""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.weight import Weight

PRECISIONS = ("fp32", "fp16", "bf16")


def matrix(rows: int, cols: int, seed: int, stored: str) -> Tensor:
    """Return a matrix with columns of uneven scale, so that its spectrum has a tail; of digits that `stored` holds."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(cols, generator=generator) ** -0.3
    w = (0.02 * torch.randn(rows, cols, generator=generator) * scales).bfloat16()
    return w if stored == "bf16" else w.float() * (1 + 1e-3 * torch.rand(rows, cols, generator=generator))


def rows_of(w: Tensor, start: int, stop: int) -> Tensor:
    """Return rows of a matrix, as a source does."""
    return w[start:stop]


def weights_of(request: dict[str, Any]) -> Sequence[Weight]:
    """Return the layers of a checkpoint, or one matrix per thread."""
    if "model" in request:
        return open_checkpoint(Path(request["model"])).inventory(AnalysisOptions()).weights
    rows, cols, stored = request["rows"], request["cols"], request["stored"]
    dtype = torch.bfloat16 if stored == "bf16" else torch.float32
    made = [matrix(rows, cols, seed, stored) for seed in range(request["threads"])]
    return [
        Weight(f"layer{i}", "other", rows, cols, dtype, str(dtype).removeprefix("torch."), partial(rows_of, w))
        for i, w in enumerate(made)
    ]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return seconds, CPU seconds, how the values were found, and the largest proved bound as a share of its alpha."""
    weights = weights_of(request)
    options = AnalysisOptions(precisions=PRECISIONS, **request["options"])
    wall, cpu = time.perf_counter(), time.process_time()  # of all workers
    found = list(analyze_weights(weights, options, Parallelism(request["threads"], 1)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = [row for result in found for row in result.rows]
    assert all(row.ok for row in rows), rows
    worst = max((row.alpha_error_bound / row.alpha for row in rows if row.method == "certified"), default=math.nan)
    return {"wall": wall, "cpu": cpu, "methods": Counter(row.method for row in rows), "worst": worst}


def main() -> None:
    """Answer until the questions end."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
