"""The examples of docs/plugins.md, installed as a distribution of a third party and used."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from alpha_callbacks import AnalysisOptions, Monitor, Plots, export_plan, scan
from alpha_callbacks.errors import PlanError
from alpha_callbacks.precisions.registry import all_precisions
from tests.conftest import REPOSITORY, noise
from tests.support.fake_distributions import distributions
from tests.support.plan_examples import plan_of

PAGE = (REPOSITORY / "docs" / "plugins.md").read_text()
POINTS = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE, re.S)[0])["project"]["entry-points"]
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)
GROUPS = ("sinks", "readers", "precisions", "exporters")  # in the order of the page


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "site"
    folder.mkdir()
    with distributions(folder, monkeypatch) as install:
        for group, code in zip(GROUPS, EXAMPLES, strict=True):
            ((name, home),) = POINTS[f"alpha_callbacks.{group}"].items()
            install(f"docs-{group}", code, **{group: f"{name} = MODULE:{home.partition(':')[2]}"})
        yield


def test_each_example_is_short() -> None:
    assert [sum(bool(line.strip()) for line in code.splitlines()) <= 22 for code in EXAMPLES] == [True] * len(GROUPS)


def test_sink(tmp_path: Path) -> None:
    with Monitor(output_dir=tmp_path / "run", sinks=["csv", "jsonl"], on_error="raise") as monitor:
        for step in (0, 10):
            monitor.log(nn.Sequential(nn.Linear(64, 64)), step)
    lines = [json.loads(line) for line in (tmp_path / "run" / "alphas.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10] and all(line["mean_fp32"] > 1 for line in lines)
    with Monitor(output_dir=tmp_path / "auto", on_error="raise") as monitor:
        monitor.log(nn.Sequential(nn.Linear(64, 64)), 0)
    assert not (tmp_path / "auto" / "alphas.jsonl").exists()


def test_reader(tmp_path: Path) -> None:
    weight = noise(64, 48)
    np.savez(tmp_path / "model.npz", **{"layers.0.fc.weight": weight.numpy(), "layers.0.fc.bias": np.ones(64)})
    torch.save({"layers.0.fc.weight": weight}, tmp_path / "model.pt")
    found = [
        scan(tmp_path / name, output_dir=tmp_path / name[6:], plots=Plots(()), report=False, options=AnalysisOptions())
        for name in ("model.npz", "model.pt")
    ]
    alphas = [result.table.alphas("fp32") for result in found if result is not None]
    assert alphas[0] == alphas[1] != []


def test_precision() -> None:
    with Monitor(AnalysisOptions(precisions=("fp32", "grid:b4")), sinks=[], on_error="raise") as monitor:
        snapshot = monitor.log(nn.Sequential(nn.Linear(64, 64)), 0)
    assert snapshot is not None
    error = snapshot.table.layers[0]["grid_b4"]
    assert 0.02 < error.relative_error < 0.2 and error.effective_bits == 4 + 32 / 64**2
    assert {"grid_b8", "grid_b4"} <= {precision.name for precision, _ in all_precisions()}


def test_exporter() -> None:
    found = export_plan(plan_of({"a": "int8", "b": "bf16"}), "table")
    assert found.text == "| layer | format |\n|---|---|\n| a | int8 |\n"
    assert found.notes == ("1 layers stay at 16 bits and are not listed.",)
    with pytest.raises(PlanError, match="table: cannot hold nf4"):
        export_plan(plan_of({"a": "nf4"}), "table")
