"""Is it worth while to prove a state of a run from the vectors of an earlier one, and is what is proved true?

    python -m benchmarks.earlier_states > benchmarks/results/earlier_states.txt   # five minutes of one core
    python -m benchmarks.earlier_states --attack 500 --runs

Real runs are measured twice at every state, with `reuse_gb=1` and `reuse_gb=0`, by turns: SmolLM2-135M is fine-tuned
on a text (three of its thirty blocks are analysed), and a small Llama is trained from scratch. Every value is compared
with that of the full solve.

The attack draws sequences of hard matrices (see benchmarks/certificate.py), each a change of the one before: noise of
any size, changes aimed at the threshold, another matrix, another shape, nan. Every row is compared with that of a
decomposition of the same bits. States are drawn until so many were proved from an earlier one.
"""

import argparse
import copy
import math
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
from alpha_callbacks.analysis import certificate_costs
from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.certified import SOLVER_EARLIER
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.tables.table import Row
from alpha_callbacks.weights.weight import Weight
from benchmarks.certificate import CHANGES, SPECTRA, change_of, singular_values
from benchmarks.small_llama import Run, Size, batches, loss_of, new_model, schedule
from scripts.fetch_real_weights import default_cache
from scripts.make_smollm2_folder import FOLDER

ROUNDING = 1e-11  # relative, of the decomposition that values are compared with
MORE_CHANGES = ("another matrix", "another shape", "nan", "half a column")
BLOCKS = r"layers\.(3|15|27)\."
SCRATCH = Run("baseline", lr=2e-3, weight_decay=0.1, seed=0, steps=60)
SCRATCH_SIZE = Size(hidden=512, layers=2, heads=8, context=64, batch=4)
LR, STATES, EVERY = 1e-5, 4, 10
SHAPES = ((576, 576), (1536, 576), (1024, 1024), (3584, 1024), (2048, 2048))
RUNS = ("shapes", "scratch", "smollm2")


@dataclass
class Tally:
    """What became of the states of an attack.

    Attributes:
        states: all of them.
        proved: those proved from an earlier state, by the last change.
        violations: rows whose bound the truth is beyond.
        shares: error / bound of each proved row.
    """

    states: int = 0
    proved: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def attack(count: int, seed: int = 0) -> Tally:
    """Draw sequences of states until so many were proved from an earlier one."""
    generator, tally = torch.Generator().manual_seed(seed), Tally()

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    with mock.patch.object(certificate_costs, "_CALLS", 0.0):  # small matrices would cost more than they spare
        while sum(tally.proved.values()) < count:
            n = whole(60, 100)
            m = n + whole(0, 2) * whole(0, n)
            dtype = (torch.float32, torch.bfloat16, torch.float64)[whole(0, 3)]
            threshold = ("next", "last")[whole(0, 2)]
            tolerance = 10.0 ** -whole(2, 5)
            options = AnalysisOptions(precisions=("fp32", "bf16"), reuse_tol=tolerance, threshold=threshold)  # type: ignore[arg-type]
            kind, k = SPECTRA[whole(0, len(SPECTRA))], options.estimator.tail_size(n)
            u, v = (torch.linalg.qr(torch.randn(s, n, dtype=torch.float64, generator=generator)).Q for s in (m, n))
            w = u * singular_values(kind, n, k, generator) @ v.T * 2.0 ** whole(-60, 60)
            if whole(0, 2):
                u, v, w = v, u, w.T
            small = 10 ** -float(torch.empty(1).uniform_(3, 7, generator=generator))
            earlier = EarlierStates(10**9)
            for state in range(whole(8, 16)):
                change = CHANGES[whole(0, len(CHANGES) - 1)] if whole(0, 20) else MORE_CHANGES[whole(0, 4)]
                w = w if state == 0 else _moved(w, change, u, v, k, small * 3 ** whole(-2, 3), generator)
                _one(tally, f"{kind}, {change}", _weight(w.to(dtype)), options, earlier)
                w = w.nan_to_num(0.0)
    return tally


def _moved(w: Tensor, change: str, u: Tensor, v: Tensor, k: int, size: float, generator: torch.Generator) -> Tensor:
    scale = float(torch.linalg.vector_norm(w)) * size
    if change == "another matrix":
        return torch.randn(w.shape, dtype=torch.float64, generator=generator) * w.std()
    if change == "another shape":
        return torch.cat([w, w[:3]]) if len(w) % 2 else w[:-3]
    if change == "nan":
        return w.index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(math.nan, dtype=torch.float64))
    if change == "half a column":  # what a few entries hardly see
        moved = w.clone()
        moved[: len(w) // 2, 1] += 100 * scale / math.sqrt(len(w))
        return moved
    rows, cols = len(u), len(v)
    noise = change_of(change, u, v, k, min(2 * k, min(rows, cols) - 1), generator)
    return (
        w + noise * scale
        if noise.shape == w.shape
        else w + scale * torch.randn(w.shape, dtype=torch.float64, generator=generator) / math.sqrt(w.numel())
    )


def _weight(matrix: Tensor) -> Weight:
    return Weight(
        layer_name="layer", category="other", out_features=matrix.shape[0], in_features=matrix.shape[1],
        dtype=matrix.dtype, stored_dtype=str(matrix.dtype).removeprefix("torch."), rows=lambda a, b: matrix[a:b],
    )  # fmt: skip


def _one(tally: Tally, name: str, weight: Weight, options: AnalysisOptions, earlier: EarlierStates) -> None:
    earlier.admit([weight], options.estimator)
    rows = analyze_weight(weight, options, earlier)
    truth = analyze_weight(weight, replace(options, reuse_tol=0))
    tally.states += 1
    if rows[0].solver == SOLVER_EARLIER or rows[-1].solver == SOLVER_EARLIER:
        tally.proved[name.split(", ")[1]] += 1
    for row, exact in zip(rows, truth, strict=True):
        _compare(tally, name, row, exact)


def _compare(tally: Tally, name: str, row: Row, exact: Row) -> None:
    if row.status != exact.status:
        tally.violations.append(f"{name}, {row.precision}: status {row.status}, not {exact.status}")
    elif row.status == "ok" and not math.isnan(row.alpha_error_bound):
        off = abs(row.alpha - exact.alpha)
        if off > row.alpha_error_bound + ROUNDING * exact.alpha:
            tally.violations.append(f"{name}, {row.precision}: {row.method}, off by {off}, not {row.alpha_error_bound}")
        if row.solver == SOLVER_EARLIER:
            tally.shares.append(off / row.alpha_error_bound)


@dataclass
class State:
    """One state of a run: CPU seconds of both analyses, what was proved, and the worst of all errors / bounds."""

    step: int
    cold: float
    warm: float
    proved: int
    layers: int
    drift: float
    worst: float
    bound: float


def compare_states(model: nn.Module, monitors: dict[str, Monitor], step: int, before: dict[str, Tensor]) -> State:
    """Measure one state with and without earlier ones."""
    spent, tables = {}, {}
    for name, monitor in sorted(monitors.items(), reverse=step % 20 == 0):
        begun = time.process_time()
        snapshot = monitor.log(model, step)
        spent[name] = time.process_time() - begun
        assert snapshot is not None
        tables[name] = list(snapshot.table)
    tally, bounds, layers = Tally(), [0.0], {row.layer_name for row in tables["warm"]}
    proved = {row.layer_name for row in tables["warm"] if row.solver == SOLVER_EARLIER}
    for row, exact in zip(tables["warm"], tables["cold"], strict=True):
        both = 0.0 if math.isnan(exact.alpha_error_bound) else exact.alpha_error_bound
        if not math.isnan(row.alpha_error_bound):
            allowed = row.alpha_error_bound + both + ROUNDING * exact.alpha
            tally.shares.append(abs(row.alpha - exact.alpha) / allowed)
        if row.solver == SOLVER_EARLIER:
            bounds.append(row.alpha_error_bound / row.alpha)
    drifts = []
    for name, parameter in model.named_parameters():
        if name.removesuffix(".weight") in layers:
            now = parameter.detach().clone()
            if name in before:
                drifts.append(float((now - before[name]).norm() / now.norm()))
            before[name] = now
    drift = sorted(drifts)[len(drifts) // 2] if drifts else math.nan
    return State(
        step, spent["cold"], spent["warm"], len(proved), len(layers), drift, max(tally.shares, default=0.0), max(bounds)
    )


def monitors_of(include: str | None, precisions: tuple[str, ...]) -> dict[str, Monitor]:
    """Return a monitor that keeps vectors and one that does not."""
    options = AnalysisOptions(include=include, precisions=precisions)
    return {
        name: Monitor(options, output_dir=Path(tempfile.mkdtemp()), sinks=[MemorySink()], threads=1, reuse_gb=gb)
        for name, gb in (("cold", 0.0), ("warm", 1.0))
    }


def show(title: str, states: list[State]) -> None:
    """Print a table of states."""
    print(f"{title}: {states[0].layers} layers")
    print("  step  moved since  full s  with s  ratio  proved  largest bound  error/bound")
    for s in states:
        print(
            f"{s.step:6d}  {s.drift:11.1e}  {s.cold:6.2f}  {s.warm:6.2f}  {s.cold / s.warm:5.2f}  {s.proved:6d}  "
            f"{s.bound:13.1e}  {s.worst:11.3f}"
        )
    cold, warm = (sum(getattr(s, name) for s in states) for name in ("cold", "warm"))
    print(f"  all states together: {cold:.2f} / {warm:.2f} s = {cold / warm:.2f}", flush=True)


def shapes() -> None:
    """Print what a state costs, by shape: solved, solved with vectors that are kept, and proved from them."""
    options = AnalysisOptions(precisions=("fp32",))
    print("one precision of noise with a tail, each state 3e-4 of its norm from the last, CPU seconds")
    print("      shape  solved  and kept  proved  ratio    bound")
    for rows, cols in SHAPES:
        generator = torch.Generator().manual_seed(0)
        lines = torch.rand(cols, generator=generator) ** -0.3
        states = [torch.randn(rows, cols, generator=generator) * lines]
        for _ in range(2):
            states.append(states[-1] + 3e-4 * torch.randn(rows, cols, generator=generator) * lines)
        earlier, spent = EarlierStates(10**9), list[float]()
        for memory, state in ((None, states[0]), *((earlier, state) for state in states)):
            earlier.admit([_weight(state)], options.estimator)
            begun = time.process_time()
            (row,) = analyze_weight(_weight(state), options, memory)
            spent.append(time.process_time() - begun)
        solved, kept, proved = min(spent[:2]), spent[2], spent[3]
        print(
            f"{rows:6d}x{cols:<5d}{solved:6.3f}  {kept:8.3f}  {proved:6.3f}  {solved / proved:5.2f}  "
            f"{row.alpha_error_bound / row.alpha:7.1e}  {row.solver}",
            flush=True,
        )


def fine_tune(folder: Path, text: str) -> dict[str, list[State]]:
    """Fine-tune SmolLM2 in fp32, its embedding frozen, with AdamW and batches of 64 tokens; measure every few steps.

    Also its weights rounded to bf16, as a checkpoint in bf16 has them.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rounded = copy.deepcopy(model).bfloat16()
    model.get_input_embeddings().requires_grad_(False)
    ids = torch.tensor(AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR)
    generator = torch.Generator().manual_seed(0)
    kinds = {"fp32": model, "rounded to bf16": rounded}
    monitors = {name: monitors_of(BLOCKS, ("fp32", "fp16", "bf16")) for name in kinds}
    before: dict[str, dict[str, Tensor]] = {name: {} for name in kinds}
    found: dict[str, list[State]] = {name: [] for name in kinds}
    for step in range((STATES - 1) * EVERY + 1):
        if step % EVERY == 0:
            rounded.load_state_dict(model.state_dict())
            for name, kind in kinds.items():
                found[name].append(compare_states(kind, monitors[name], step, before[name]))
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / 10)
        start = int(torch.randint(len(ids) - 64, (1,), generator=generator))
        batch = ids[None, start : start + 64]
        model(input_ids=batch, labels=batch).loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return found


def from_scratch(text: str) -> list[State]:
    """Train a small Llama on bytes, its learning rate going down to a tenth, and measure every tenth step."""
    data = torch.tensor(list(text.encode()), dtype=torch.uint8)
    model = new_model(SCRATCH_SIZE, SCRATCH.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SCRATCH.lr, weight_decay=SCRATCH.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, SCRATCH.steps))
    monitors, before, found = monitors_of(None, ("fp32", "fp16", "bf16")), dict[str, Tensor](), []
    for step, batch in enumerate(batches(data, SCRATCH, SCRATCH_SIZE)):
        if step % 10 == 0:
            found.append(compare_states(model, monitors, step, before))
        loss_of(model, batch).backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    found.append(compare_states(model, monitors, SCRATCH.steps, before))
    return found


def tell(tally: Tally) -> None:
    """Print what became of an attack."""
    shares = torch.tensor(tally.shares, dtype=torch.float64)
    print(
        f"attack: {tally.states} states, {sum(tally.proved.values())} proved from an earlier one, "
        f"{len(tally.violations)} violations; share of the bound that the error takes: median "
        f"{float(shares.median()):.3f}, largest {float(shares.max()):.3f}"
    )
    print("proved after: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.proved.items())))
    for line in tally.violations[:20]:
        print(line)


def main() -> None:
    """Print the runs and the attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", type=int, default=1000, help="states that are proved from an earlier one")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=RUNS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    print(f"torch {torch.__version__}, CPU seconds, one thread")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path("docs").glob("*.md")))
    if "shapes" in arguments.runs:
        shapes()
    if "scratch" in arguments.runs:
        show("a small Llama from scratch, fp32", from_scratch(text))
    if "smollm2" in arguments.runs:
        for name, found in fine_tune(default_cache() / FOLDER, text).items():
            show(f"SmolLM2-135M, {name}, fine-tuned at {LR:.0e}, a state every {EVERY} steps", found)
    if arguments.attack:
        tell(attack(arguments.attack))
    print(f"{time.process_time() - begun:.0f} CPU seconds in all")


if __name__ == "__main__":
    main()
