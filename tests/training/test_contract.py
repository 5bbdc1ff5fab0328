"""Every host with every sink: attach, run, run again, close twice; the trained weights are as without us."""

import csv
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.training.monitor import Monitor

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PRECISIONS = ("fp32", "bf16")
Parameters = list[Tensor]


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def with_monitor(folder: Path, sinks: list[Any] | None) -> tuple[Parameters, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    monitor = Monitor(AnalysisOptions(precisions=PRECISIONS), output_dir=folder / "alpha_hill", sinks=sinks or [])
    for step in range(7):
        if sinks is not None and step % 3 == 0:
            monitor.log(model, step)
        optimizer.zero_grad()
        model(torch.randn(4, 32)).square().mean().backward()
        optimizer.step()
    return list(model.parameters()), monitor


def with_lightning(folder: Path, sinks: list[Any] | None) -> tuple[Parameters, Any]:
    need("lightning")
    import lightning.pytorch

    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from tests.support.lightning_runs import fit

    callback = AlphaHillCallback(every=3, precisions=PRECISIONS, sinks=sinks or [], output_dir=folder / "alpha_hill")
    _, module = fit(lightning.pytorch, folder, [] if sinks is None else [callback])
    return list(module.parameters()), callback.monitor


def with_hf(folder: Path, sinks: list[Any] | None) -> tuple[Parameters, Any]:
    need("transformers")
    need("accelerate")
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from tests.support.hf_runs import trainer

    callback = AlphaHillTrainerCallback(every=3, precisions=PRECISIONS, sinks=sinks or [])
    run = trainer(folder, [] if sinks is None else [callback], save_strategy="no")
    run.train()
    return list(run.model.parameters()), callback.monitor


HOSTS: dict[str, Callable[[Path, list[Any] | None], tuple[Parameters, Any]]] = {
    "monitor": with_monitor,
    "lightning": with_lightning,
    "hf": with_hf,
}


def csv_steps(folder: Path) -> list[int]:
    with (folder / "alpha_hill" / "alpha_hill_history.csv").open(newline="") as file:
        return sorted({int(row["step"]) for row in csv.DictReader(file)})


def tensorboard_steps(folder: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = set()
    for file in (folder / "alpha_hill" / "tensorboard").glob("events*"):
        events = EventAccumulator(str(file), size_guidance={"images": 0, "tensors": 0})
        events.Reload()
        steps |= {event.step for event in events.Scalars("alpha_hill_more/mean_bf16")}
        drawn = events.Images("alpha_hill_bars/attn_q" if "hf" in str(folder) else "alpha_hill_bars/other")
        assert {event.step for event in drawn} == {min(steps), max(steps)}  # of so few, the first and the last
    return sorted(steps)


@pytest.fixture
def wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run = wandb.init(mode="offline", dir=str(tmp_path), project="contract")
    yield run
    run.finish()
    wandb.teardown()


@pytest.mark.parametrize("host", HOSTS)
def test_memory_and_csv(host: str, tmp_path: Path) -> None:
    folder, memory = tmp_path / host, MemorySink()
    alone, _ = HOSTS[host](tmp_path / "alone", None)
    for _ in range(2):  # attached again, into the same folder
        watched, monitor = HOSTS[host](folder, [memory, "csv"])
        monitor.close()
        monitor.close()
        assert all(map(torch.equal, alone, watched))
        assert csv_steps(folder) == [0, 3, 6]
    assert [s.step for s in memory.snapshots] == [0, 3, 6, 0, 3, 6] and memory.closed == 2


@pytest.mark.parametrize("host", HOSTS)
def test_tensorboard(host: str, tmp_path: Path) -> None:
    need("tensorboard")
    folder = tmp_path / host
    alone, _ = HOSTS[host](tmp_path / "alone", None)
    for _ in range(2):
        watched, monitor = HOSTS[host](folder, ["tensorboard"])
        monitor.close()
        monitor.close()
        assert all(map(torch.equal, alone, watched))
    assert tensorboard_steps(folder) == [0, 3, 6]


@pytest.mark.parametrize("host", HOSTS)
def test_wandb(host: str, tmp_path: Path, wandb_run: Any) -> None:
    from tests.support.wandb_offline import read_offline_run

    alone, _ = HOSTS[host](tmp_path / "alone", None)
    watched, monitor = HOSTS[host](tmp_path / host, ["csv", "wandb"])
    monitor.close()
    monitor.close()
    assert all(map(torch.equal, alone, watched))
    wandb_run.finish()
    rows = [row for row in read_offline_run(tmp_path).rows if "alpha_hill/mean_bf16" in row]
    assert [row["alpha_hill/step"] for row in rows] == [0, 3, 6]  # one row per state
    assert monitor.last is not None and rows[-1]["alpha_hill/mean_bf16"] == monitor.last.scalars["mean_bf16"]
