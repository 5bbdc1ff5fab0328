"""docs/keys.md lists what a run logs: nothing undocumented, nothing documented that never comes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from alpha_integrations.loggers.tracker_sink import TrackerSink
from safetensors.torch import save_file
from torch import nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import Host
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.history_columns import HEADER
from alpha_callbacks.training.monitor import Monitor
from tests.conftest import REPOSITORY
from tests.support.pictures import noise_for_pictures


@pytest.fixture(autouse=True)
def _pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    noise_for_pictures(monkeypatch)


HOLES = {
    "statistic": "mean|median|min",
    "precision": "fp64|fp32|fp16|bf16|int4_g32",
    "category": "(attn_q|mlp_up|lm_head)(_update)?",
    "value": "alpha_ratio|drift|relative_error|relative_size",
    "what": "alpha|alpha_ratio|stable_rank|relative_size",
    "measure": "relative_size|stable_rank",
    "chart": "largest_errors|heaviest_tails|largest_moves",
    "estimator": "half",
    "scalar": r"(mean|median|min|relative_error)_(fp64|fp32|fp16|bf16|int4_g32)|median_alpha_ratio|max_abs_move"
    r"|half_median|clear_tails|analysed_layers(_fp16)?|layers|max_abs_drift"
    "|failed_layers|alerts|seconds|updated_layers|update_(alpha|alpha_ratio|stable_rank|relative_size)",
    "block": r"\d+",
    "layer": "[a-zA-Z_0-9.]+",
}


def documented(section: str) -> list[str]:
    """Return the first column of the table of a section."""
    page = (REPOSITORY / "docs" / "keys.md").read_text()
    text = page.split(f"<!-- {section} -->")[1].split("<!-- ")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def compare(section: str, logged: set[str]) -> None:
    patterns = {
        name: re.sub(r"<(\w+)>", lambda m: f"({HOLES[m[1]]})", name.replace(".", r"\.")) for name in documented(section)
    }
    unknown = {key for key in logged if not any(re.fullmatch(pattern, key) for pattern in patterns.values())}
    silent = {name for name, pattern in patterns.items() if not any(re.fullmatch(pattern, key) for key in logged)}
    assert patterns and unknown == set() and silent == set()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict({"q_proj": nn.Linear(40, 40, bias=False)})
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(40, 60, bias=False)})


def model() -> nn.Module:
    torch.manual_seed(0)
    head = nn.Linear(40, 50)
    with torch.no_grad():
        head.weight.mul_(1e6)  # fp16 overflows, so that its mean is of other layers
    return nn.ModuleDict({"layers": nn.ModuleList(Block() for _ in range(2)), "lm_head": head})


def logged(sinks: list[Any], folder: Path, step_key: str = "") -> Snapshot:
    options = AnalysisOptions(precisions=("fp32", "fp16", "bf16", "int4_g32"), estimators=("half",))
    folder.mkdir(exist_ok=True)
    save_file({name: 1.1 * value**2 for name, value in model().state_dict().items()}, folder / "base.safetensors")
    baseline = folder / "base.safetensors"
    with Monitor(options, sinks=sinks, output_dir=folder, alerts="alpha > 0", baseline=baseline) as monitor:
        monitor.open(step_key=step_key)
        module = model()
        monitor.log(module, 1, epoch=0.5)
        with torch.no_grad():
            module["lm_head"].weight[0] *= 2
        monitor.log(module, 2, epoch=1.0)
    assert monitor.last is not None
    return monitor.last


def test_summary_values(tmp_path: Path) -> None:
    compare("scalars", set(logged([], tmp_path).scalars))


def test_history() -> None:
    assert documented("history") == HEADER


def test_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged(["tensorboard"], tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    compare("tensorboard", {tag for kind in ("scalars", "images", "histograms", "tensors") for tag in tags[kind]})


@pytest.fixture
def wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield wandb.init(mode="offline", dir=str(tmp_path))
    wandb.finish()
    wandb.teardown()


def test_wandb(tmp_path: Path, wandb_run: Any) -> None:
    from tests.support.wandb_offline import read_offline_run

    for step_key in ("trainer/global_step", "train/global_step"):
        logged(["wandb"], tmp_path / "out", step_key)
    wandb_run.finish()
    rows = read_offline_run(tmp_path).rows
    compare("wandb", {key for row in rows for key in row if not key.startswith("_")})
    keys = [[key for key in row if key.endswith("global_step")] for row in rows if "alpha_hill/table" in row]
    assert keys == [["trainer/global_step"]] * 2 + [["train/global_step"]] * 2


class _Names:
    """A tracker that remembers names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def values(self, values: dict[str, float], step: int, epoch: float | None) -> None:
        self.names |= set(values)

    def picture(self, name: str, pixels: Any, step: int) -> None:
        self.names.add(name)

    def table(self, name: str, columns: Any, rows: Any, step: int) -> None:
        self.names.add(name)

    def alert(self, line: Any, step: int) -> None:
        assert line.text


def test_trackers(tmp_path: Path) -> None:
    names = _Names()
    logged([TrackerSink(Host(tmp_path), "tracker", lambda: names, names)], tmp_path / "out")
    compare("trackers", names.names)
