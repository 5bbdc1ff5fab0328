"""Does layer-wise control from alpha gain anything at a small scale? Small Llamas, paired by seed.

    python -m benchmarks.layerwise_control --text TEXT --device cuda --processes 8 --budget-seconds 220 --out FOLDER

TEXT is any English text of some MB. First the learning rate and then the weight decay are tuned for the baseline
(AdamW, one value for all layers), on seeds of their own; as long as the best learning rate is the lowest or highest one
that was tried, half or twice of it is tried too. Then every arm is trained with exactly these settings and the
same weights and batches per seed: the baseline and the three rules. The number of steps is chosen such that all of it
fits into the budget. FOLDER/layerwise_control.json is written after each run, the table at the end.
"""

import argparse
import json
import math
import multiprocessing
import os
import queue
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.small_llama import Outcome, Run, Size, read_text, train

ARMS = ("baseline", "tempbalance", "llr", "alphadecay")
RATES = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)  # of the recorded run: 1e-3 to 1.6e-2
DECAYS = (0.1, 0.01, 0.3)  # the first one while the learning rate is tuned
TUNING_SEEDS = (101, 102)
TRIAL_STEPS = 60  # timed, after as many that are not
STEPS = (300, 2000)  # fewest and most of a run
MARGIN = 0.85  # of the budget is planned for
# Two-sided 95 % quantiles of Student's t, by degrees of freedom.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)


def every_of(arm: str, steps: int) -> int | None:
    """Return the steps between two decisions.

    LLR's 40 are published for trainings of this length. AlphaDecay decides 20 times in one; TempBalance, which decides
    once per epoch of 200, as often as LLR.
    """
    return {"tempbalance": 40, "alphadecay": max(1, steps // 20)}.get(arm)


class Pool:
    """Processes that train side by side, and the results as they come, until the deadline."""

    def __init__(self, args: argparse.Namespace, size: Size, deadline: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._jobs, self._results = context.Queue(), context.Queue()
        self._deadline = deadline
        together = context.Barrier(args.processes)
        common = (self._jobs, self._results, together, args.text, args.device, size, deadline)
        self._workers = [context.Process(target=_work, args=common, daemon=True) for _ in range(args.processes)]
        for worker in self._workers:
            worker.start()
        self.rate = sum(self._get() or 0.0 for _ in self._workers)  # steps per second of all together

    def run(self, runs: Sequence[Run]) -> Iterable[tuple[Run, Outcome]]:
        """Yield what is done before the deadline."""
        for run in runs:
            self._jobs.put(run)
        for _ in runs:
            found = self._get()
            if found is None:
                return
            yield found

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.terminate()

    def _get(self) -> Any:
        try:
            found = self._results.get(timeout=max(0.1, self._deadline - time.time()))
        except queue.Empty:
            return None
        if isinstance(found, str):
            raise SystemExit(f"a worker failed: {found}")
        return found


def _work(jobs: Any, results: Any, together: Any, path: Path, device: str, size: Size, deadline: float) -> None:
    try:
        import torch

        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        text = read_text(path, device)
        trial = Run("baseline", 1e-3, 0.1, 0, TRIAL_STEPS)
        little = text[0], text[1][: 8 * size.context]
        train(trial, size, little, device, lambda: False)  # loads and allocates
        together.wait()
        begun = time.monotonic()
        train(trial, size, little, device, lambda: False)
        results.put(trial.steps / (time.monotonic() - begun))
        while True:
            run = jobs.get()
            outcome = train(run, size, text, device, lambda: time.time() > deadline)
            if outcome is not None:
                results.put((run, outcome))
    except Exception as error:
        results.put(f"{type(error).__name__}: {error}")


def best(outcomes: Sequence[tuple[Run, Outcome]], name: str) -> Any:
    """Return the value of a setting with the lowest mean loss; a loss that is not a number is the worst."""
    if not outcomes:
        raise SystemExit(
            "no run of the tuning has ended within the budget: give more --budget-seconds or fewer --steps"
        )
    losses: dict[Any, list[float]] = {}
    for run, outcome in outcomes:
        losses.setdefault(getattr(run, name), []).append(outcome.final if math.isfinite(outcome.final) else math.inf)
    return min(losses, key=lambda value: statistics.fmean(losses[value]))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half-width of the 95 % t-interval."""
    if len(values) < 2:
        return statistics.fmean(values), math.nan
    t = _T[min(len(values) - 1, len(_T) - 1)]
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def table(record: dict[str, Any]) -> str:
    """Return the results as text: one line per arm, over the seeds that every arm has finished."""
    finals = {arm: {r["seed"]: r for r in record["runs"] if r["arm"] == arm and r["part"] == "arms"} for arm in ARMS}
    seeds = sorted(set.intersection(*(set(found) for found in finals.values())))
    lines = [
        f"{record['parameters']:,} parameters, {record['steps']} steps of {record['batch']} x {record['context']} "
        f"bytes, {record['device']}; {len(seeds)} paired seeds",
        f"tuned for the baseline: lr {record.get('lr')}, weight decay {record.get('weight_decay')}",
        "",
        f"{'arm':12} {'loss':>8} {'± sd':>8} {'perplexity':>11}   {'loss - baseline [95 %]':>28} {'better':>7} "
        f"{'multiplier':>11} {'decisions':>10} {'s each':>7} {'s a run':>8}",
    ]
    for arm, found in finals.items():
        if not seeds:
            break
        losses = [found[seed]["final"] for seed in seeds]
        gains = [found[seed]["final"] - finals["baseline"][seed]["final"] for seed in seeds]
        mean, half = interval(gains)
        spread = statistics.stdev(losses) if len(losses) > 1 else math.nan
        paired = "" if arm == "baseline" else f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"
        won = "" if arm == "baseline" else f"{sum(gain < 0 for gain in gains)}/{len(gains)}"
        rows = [found[seed] for seed in seeds]
        cost = statistics.fmean(row["seconds_per_decision"] for row in rows)
        lines.append(
            f"{arm:12} {statistics.fmean(losses):8.4f} {spread:8.4f} {math.exp(statistics.fmean(losses)):11.4f}   "
            f"{paired:>28} {won:>7} {statistics.fmean(row['multiplier'] for row in rows):11.2f} "
            f"{rows[0]['decisions']:10} {cost:7.3f} "
            f"{statistics.fmean(row['seconds'] for row in rows):8.1f}"
        )
    lines += ["", "tuning of the baseline (mean loss of the seeds):"]
    tuning: dict[tuple[float, float], list[float]] = {}
    for run in record["runs"]:
        if run["part"] == "tuning":
            tuning.setdefault((run["lr"], run["weight_decay"]), []).append(run["final"])
    lines += [
        f"  lr {lr:<7g} weight decay {wd:<5g} {statistics.fmean(v):.4f}" for (lr, wd), v in sorted(tuning.items())
    ]
    rates = [lr for lr, _ in tuning]
    if rates and record.get("lr") in (min(rates), max(rates)):
        lines.append("the learning rate is at the edge of those that were tried")
    return "\n".join(lines)


def main() -> None:
    """Tune, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--budget-seconds", type=float, default=220)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, help="default: as many as fit into the budget")
    for name, default in (("hidden", 192), ("layers", 6), ("heads", 4), ("context", 256), ("batch", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    deadline = time.time() + args.budget_seconds
    size = Size(args.hidden, args.layers, args.heads, args.context, args.batch)
    args.out.mkdir(parents=True, exist_ok=True)
    pool = Pool(args, size, deadline)
    seeds = range(args.seeds)
    planned = (len(RATES) + len(DECAYS) - 1) * len(TUNING_SEEDS) + len(ARMS) * len(seeds)
    fitting = MARGIN * (deadline - time.time()) * pool.rate / planned
    steps = args.steps or round(min(max(fitting, STEPS[0]), STEPS[1]) / 20) * 20
    print(f"{pool.rate:.0f} steps per second, {planned} runs of {steps} steps", flush=True)
    record: dict[str, Any] = {"runs": [], "steps": steps, **asdict(size), **_where(args.device), **_of_model(size)}

    def finish(part: str, runs: Sequence[Run]) -> list[tuple[Run, Outcome]]:
        done = []
        for run, outcome in pool.run(runs):
            done.append((run, outcome))
            record["runs"].append({"part": part, **asdict(run), **asdict(outcome)})
            (args.out / "layerwise_control.json").write_text(json.dumps(record, indent=1))
            print(f"{part} {run} {outcome}", flush=True)
        return done

    tuned, rates = list[tuple[Run, Outcome]](), set[float]()
    further = set(RATES)
    while further:
        done = finish(
            "tuning", [Run("baseline", lr, DECAYS[0], seed, steps) for lr in sorted(further) for seed in TUNING_SEEDS]
        )
        tuned, rates = tuned + done, rates | further
        lr = best(tuned, "lr")
        further = ({lr / 2} if lr == min(rates) else {lr * 2} if lr == max(rates) else set()) if done else set()
    record["lr"] = lr
    tuned = [(run, outcome) for run, outcome in tuned if run.lr == lr]
    tuned += finish("tuning", [Run("baseline", lr, wd, seed, steps) for wd in DECAYS[1:] for seed in TUNING_SEEDS])
    record["weight_decay"] = decay = best(tuned, "weight_decay")
    finish("arms", [Run(arm, lr, decay, seed, steps, every_of(arm, steps)) for seed in seeds for arm in ARMS])
    pool.close()
    text = table(record)
    (args.out / "layerwise_control.json").write_text(json.dumps(record, indent=1))
    (args.out / "layerwise_control.txt").write_text(text + "\n")
    print(text)


def _where(device: str) -> dict[str, str]:
    import torch
    import transformers

    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


def _of_model(size: Size) -> dict[str, int]:
    from benchmarks.small_llama import new_model

    return {"parameters": sum(parameter.numel() for parameter in new_model(size, 0).parameters())}


if __name__ == "__main__":
    main()
