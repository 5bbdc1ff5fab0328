"""What a training run in any framework is asked for, and the oracles that it is held to."""

import copy
import csv
import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HISTORY = "alpha_hill_history.csv"
PRECISIONS = ("fp32", "bf16")
K_FRAC, K_MIN = 0.1, 10


@dataclass
class Copies:
    """How often a callback was copied, and what went wrong.

    Attributes:
        made: (moment, way) of each copy that came out whole.
        failed: the same, with the error.
    """

    made: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def make(self, moment: str, callback: Any) -> None:
        """Copy a callback or monitor in every way; a copy has to know the newest result."""
        monitor = getattr(callback, "monitor", callback)
        for way, copied in self._ways().items():
            try:
                other = copied(callback)
                found = getattr(other, "monitor", other).last
                assert (found and found.step) == (monitor.last and monitor.last.step), "the copy has another state"
                self.made.append(f"{moment} {way}")
            except Exception as error:
                self.failed.append(f"{moment} {way}: {type(error).__name__}: {error}")

    @staticmethod
    def _ways() -> dict[str, Callable[[Any], Any]]:
        ways: dict[str, Callable[[Any], Any]] = {
            "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
            "deepcopy": copy.deepcopy,
        }
        try:
            import cloudpickle
        except ImportError:
            return ways
        return ways | {"cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing))}


@dataclass
class Trained:
    """A run that has ended.

    Attributes:
        state: the weights that the user has then.
        saved: step -> the checkpoint written at it, as a mapping that was read without this package.
        results: folder of the history; None without the callback.
        heard: logger -> the steps at which it has an alpha.
    """

    state: Mapping[str, Tensor]
    saved: Mapping[int, Mapping[str, Tensor]]
    results: Path | None = None
    heard: Mapping[str, Iterable[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """A framework.

    Attributes:
        name: for the table.
        attached: the line of code that a user adds.
        needs: packages to import.
        train: (empty folder, with the callback?, copies to make) -> the run.
    """

    name: str
    attached: str
    needs: tuple[str, ...]
    train: Callable[[Path, bool, Copies], Trained]


@dataclass
class Outcome:
    """One line of the table.

    Attributes:
        rows: alphas that were compared with an SVD of a file.
        worst: largest difference.
        states: measured states; `saved`: those of them with a file.
        identical: the run ended with the same bits as the one without the callback.
    """

    host: str
    attached: str
    rows: int
    worst: float
    states: int
    saved: int
    identical: bool
    copies: int
    failed_copies: list[str]
    heard: dict[str, int]

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


def outcome(host: Host, folder: Path) -> Outcome:
    """Train twice, and compare."""
    without = host.train(_made(folder / "without"), False, Copies())
    copies = Copies()
    run = host.train(_made(folder / "with"), True, copies)
    assert run.results is not None and run.saved, "the run has no results or no checkpoint"
    history = read_history(run.results)
    rows, worst = compared(history, run.saved)
    states = {int(row["step"]) for row in history}
    return Outcome(
        host.name, host.attached, rows, worst, len(states), len(states & set(run.saved)),
        digest(without.state) == digest(run.state), len(copies.made), copies.failed,
        {logger: len(states & set(steps)) for logger, steps in run.heard.items()},
    )  # fmt: skip


def read_history(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a history."""
    with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compared(history: Iterable[Mapping[str, str]], saved: Mapping[int, Mapping[str, Tensor]]) -> tuple[int, float]:
    """Return how many alphas have a tensor of the same name in the file of their step, and the largest difference.

    Raises:
        AssertionError: a step has a file and no rows of it, or a row has no tensor.
    """
    differences: dict[int, list[float]] = {step: [] for step in saved}
    for row in history:
        if (step := int(row["step"])) in saved and row["status"] == "ok":
            tensor = saved[step].get(f"{row['layer_name']}.weight")
            assert tensor is not None, f"step {step}: no tensor in the file is called {row['layer_name']}.weight"
            differences[step].append(abs(alpha(tensor, row["precision"]) - float(row["alpha"])))
    empty = [step for step, found in differences.items() if not found]
    assert not empty, f"no rows of the checkpoints of steps {empty}"
    found = [difference for each in differences.values() for difference in each]
    return len(found), max(found)


def alpha(weight: Tensor, precision: str) -> float:
    """Return alpha-Hill by NumPy's SVD in fp64, apart from everything in this package."""
    rounded = weight.detach().to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision]).double().numpy()
    values: Any = np.linalg.svd(rounded, compute_uv=False) ** 2
    k = min(max(K_MIN, int(K_FRAC * len(values))), len(values) - 1)
    return float(1 + k / np.log(values[:k] / values[k]).sum())


def digest(state: Mapping[str, Tensor]) -> str:
    """Return a digest of the bits of all tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def read_torch(path: Path, *keys: str) -> Mapping[str, Tensor]:
    """Return the tensors below these keys of a file of torch."""
    found: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in keys:
        found = found[key]
    tensors: Mapping[str, Tensor] = found
    return tensors


def read_safetensors(folder: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a folder."""
    from safetensors.torch import load_file

    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def tensorboard_steps(folder: Path) -> list[int]:
    """Return the steps at which event files below a folder have a median alpha."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(path))
        events.Reload()
        if "alpha_hill/median_fp32" in events.Tags()["scalars"]:
            steps += [event.step for event in events.Scalars("alpha_hill/median_fp32")]
    return steps


def wandb_steps(folder: Path) -> list[int]:
    """Return the steps at which offline runs below a folder have a median alpha."""
    from tests.support.wandb_offline import read_offline_runs

    rows = [row for run in read_offline_runs(folder) for row in run.rows]
    return [int(row["alpha_hill/step"]) for row in rows if not math.isnan(row.get("alpha_hill/median_fp32", math.nan))]


def small_net() -> nn.Sequential:
    """Return the same fresh layers every time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 24))


def batch(step: int, rank: int = 0) -> Tensor:
    """Return the batch of a step, always the same."""
    return torch.randn(4, 32, generator=torch.Generator().manual_seed(100 * step + rank))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
