"""Updates since a baseline: the rows of a scan beside that base, nothing held in memory, nothing changed."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from alpha_callbacks.checkpoints.safetensors_writer import exact_dtype
from alpha_callbacks.errors import CheckpointError, OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Row
from alpha_callbacks.training.callback_options import CallbackOptions
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.weights.module_weights import module_inventory
from tests.support.counting import count_analyses

OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))
UPDATE = " (update)"


def model(width: int = 40) -> Any:
    torch.manual_seed(0)
    layers = {"up": nn.Linear(width, 56), "down": nn.Linear(56, width), "head": nn.Linear(width, 48)}
    return nn.ModuleDict(layers)


def move(module: Any, *names: str, by: float = 0.01) -> None:
    with torch.no_grad():
        for name in names:
            module[name].weight.add_(by * torch.randn_like(module[name].weight))


def monitor(folder: Path, baseline: Any = "start", **options: Any) -> Monitor:
    return Monitor(OPTIONS, output_dir=folder, sinks=["csv"], baseline=baseline, on_error="raise", **options)


def log(of: Monitor, module: nn.Module, step: int) -> dict[str, Row]:
    """Return layer -> its row at fp32."""
    snapshot = of.log(module, step)
    assert isinstance(snapshot, Snapshot)
    return {layer.first.layer_name: layer["fp32"] for layer in snapshot.table.layers}


def test_rows_are_those_of_a_scan_of_both_checkpoints(tmp_path: Path) -> None:
    module = model()
    with monitor(tmp_path / "run") as run:
        run.log(module, 0)
        move(module, "up", "head")
        live = log(run, module, 5)
    save_file(module.state_dict(), tmp_path / "tuned.safetensors")
    base = tmp_path / "run" / "start"  # a checkpoint like any other
    found = scan(
        tmp_path / "tuned.safetensors", options=OPTIONS, output_dir=tmp_path / "scan", base=base, plots=Plots(())
    )
    assert found is not None
    rows = {layer.first.layer_name: layer["fp32"] for layer in found.table.layers}
    assert sorted(live) == sorted(rows)
    for name, row in live.items():
        there = rows[name]
        assert (row.category, row.status, row.method, row.stored_dtype) == (
            there.category, there.status, there.method, there.stored_dtype)  # fmt: skip
        if row.ok:
            assert (row.alpha, row.stable_rank) == (there.alpha, there.stable_rank)
        if row.is_update:
            assert row.relative_size == there.relative_size


def test_values_are_those_of_the_difference(tmp_path: Path) -> None:
    module = model()
    before = module["up"].weight.detach().double().numpy().copy()
    with monitor(tmp_path) as run:
        run.log(module, 0)
        move(module, "up")
        row = log(run, module, 1)[f"up{UPDATE}"]
    change = module["up"].weight.detach().double().numpy() - before
    squares = np.linalg.svd(change, compute_uv=False) ** 2
    k = 10
    assert row.alpha == pytest.approx(1 + k / np.log(squares[:k] / squares[k]).sum(), rel=1e-7)
    assert row.stable_rank == pytest.approx(squares.sum() / squares[0])
    assert row.relative_size == pytest.approx(np.linalg.norm(change) / np.linalg.norm(before))
    assert row.alpha_ratio > 0 and row.alpha_null > 1


def test_layers_that_did_not_change_say_so_and_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, module = count_analyses(monkeypatch), model()
    with monitor(tmp_path) as run:
        start = log(run, module, 0)
        seen.clear()
        move(module, "up")
        later = log(run, module, 1)
        assert sorted(seen) == ["up", f"up{UPDATE}"]
        assert run.last is not None and run.last.failed_layers == 0 and run.last.scalars["layers"] == 3
        seen.clear()
        log(run, module, 2)
        assert seen == []
    assert {row.status for name, row in start.items() if name.endswith(UPDATE)} == {"unchanged"}
    assert later[f"down{UPDATE}"].status == "unchanged" and later[f"down{UPDATE}"].relative_size == 0
    assert "unchanged from the base" in later[f"down{UPDATE}"].reason


def test_training_does_not_notice(tmp_path: Path) -> None:
    ends = []
    for option in (None, "start"):
        module = model()
        steps = torch.optim.Adam(module.parameters(), lr=1e-2)
        with monitor(tmp_path / str(option), option) as run:
            for step in range(3):
                run.log(module, step)
                out = module["head"](module["down"](module["up"](torch.ones(2, 40))))
                steps.zero_grad()
                (out**2).mean().backward()
                steps.step()
        ends.append(module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_resumed_run_goes_on_from_its_first_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = model()
    with monitor(tmp_path) as run:
        run.log(module, 0)
        move(module, "up")
        before = log(run, module, 10)[f"up{UPDATE}"]
    with caplog.at_level(logging.WARNING), monitor(tmp_path) as run:
        resumed = log(run, module, 20)
    assert resumed[f"up{UPDATE}"].alpha == before.alpha and resumed[f"head{UPDATE}"].status == "unchanged"
    assert "W0 the weights at step 0, kept in" in caplog.text
    with monitor(tmp_path) as run:  # begins anew
        assert log(run, module, 0)[f"up{UPDATE}"].status == "unchanged"
    assert json.loads((tmp_path / "start" / "start.json").read_text())["step"] == 0
    assert torch.equal(load_file(tmp_path / "start" / "model.safetensors")["up.weight"], module["up"].weight)


def test_a_run_that_began_elsewhere_is_told_how_to_name_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = model()
    with monitor(tmp_path / "a") as run:
        run.log(module, 0)
    move(module, "up")
    with caplog.at_level(logging.WARNING), monitor(tmp_path / "b") as run:
        assert log(run, module, 7)[f"up{UPDATE}"].status == "unchanged"
    assert "W0 the weights at step 7" in caplog.text and "baseline=.../alpha_hill/start" in caplog.text
    with monitor(tmp_path / "b", tmp_path / "a" / "start") as run:
        assert log(run, module, 8)[f"up{UPDATE}"].ok


def damage(folder: Path) -> None:
    file = folder / "start" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, "model.safetensors: expected the weights that this run started with, .* got another content of"),
        (lambda folder: (folder / "start" / "model.safetensors").unlink(), "got no such file. Put output_dir where"),
        (
            lambda folder: (folder / "start" / "start.json").write_text("{"),
            "start.json: expected the record of a run's",
        ),
    ],
    ids=["bits", "file", "record"],
)
def test_a_damaged_start_is_refused(tmp_path: Path, harm: Any, message: str) -> None:
    with monitor(tmp_path) as run:
        run.log(model(), 0)
    harm(tmp_path)
    with pytest.raises(CheckpointError, match=message), monitor(tmp_path) as run:
        run.log(model(), 1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (model(44), "with up of shape 56x44, got 56x40. It is that of another model: name another output_dir"),
        (nn.ModuleDict({"in": nn.Linear(40, 56)}), "in of shape 56x40, got no such layer. It is that of another model"),
        (
            nn.ModuleDict({**model(), "in": nn.Linear(40, 56)}),
            "with in of .* got no such layer. It was kept with other layers: resume with the same include, exclude and",
        ),
    ],
    ids=["shape", "name", "more"],
)
def test_the_start_of_another_model_is_refused_by_name(tmp_path: Path, other: nn.Module, message: str) -> None:
    with monitor(tmp_path) as run:
        run.log(model(), 0)
    with pytest.raises(CheckpointError, match=message), monitor(tmp_path) as run:
        run.log(other, 1)


def test_a_start_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    module = model()
    with monitor(tmp_path) as run:
        run.log(module, 0)
    (tmp_path / "start" / "start.json").unlink()
    (tmp_path / "start" / "model-00001-of-00002.safetensors").write_bytes(b"of another run")
    move(module, "up")
    with monitor(tmp_path) as run:
        assert log(run, module, 5)[f"up{UPDATE}"].status == "unchanged"
    assert sorted(path.name for path in (tmp_path / "start").iterdir()) == ["model.safetensors", "start.json"]


def test_a_model_on_disk(tmp_path: Path) -> None:
    module = model()
    save_file(module.state_dict(), tmp_path / "base.safetensors")
    move(module, "up")
    with monitor(tmp_path / "run", tmp_path / "base.safetensors") as run:
        found = log(run, module, 3)
        save_file(module.state_dict(), tmp_path / "saved.safetensors")
        saved = run.log_checkpoint(tmp_path / "saved.safetensors", 4)
    assert found[f"up{UPDATE}"].ok and found[f"down{UPDATE}"].status == "unchanged"
    assert saved is not None and {row.layer_name: row.alpha for row in saved.table if row.precision == "fp32"} == (
        pytest.approx({name: row.alpha for name, row in found.items()}, nan_ok=True))  # fmt: skip
    assert not (tmp_path / "run" / "start").exists()


def test_a_layer_that_only_one_side_has_is_a_row_with_a_reason(tmp_path: Path) -> None:
    module = model()
    state = module.state_dict()
    del state["head.weight"], state["head.bias"]
    save_file(state, tmp_path / "base.safetensors")
    with monitor(tmp_path / "run", tmp_path / "base.safetensors") as run:
        row = log(run, module, 0)[f"head{UPDATE}"]
    assert (row.status, row.reason) == ("unsupported", "the base has no layer of this name")


def test_a_model_of_which_no_layer_fits_is_refused(tmp_path: Path) -> None:
    save_file(model(44).state_dict(), tmp_path / "base.safetensors")
    message = r"no layer fits \(up \(56x40\) here, up \(56x44\) there\)"
    with pytest.raises(CheckpointError, match=message), monitor(tmp_path / "run", tmp_path / "base.safetensors") as run:
        run.log(model(), 0)


def test_a_copy_beside_training_is_compared_as_it_was(tmp_path: Path) -> None:
    module = model()
    with monitor(tmp_path, background=True) as run:
        run.log(module, 0)
        run.poll(wait=True)
        move(module, "up")
        expected = module["up"].weight.detach().clone()
        run.log(module, 1)
        move(module, "up", by=5.0)
        snapshot = run.poll(wait=True)
    assert snapshot is not None
    row = next(row for row in snapshot.table if row.layer_name == f"up{UPDATE}")
    change = expected.double() - load_file(tmp_path / "start" / "model.safetensors")["up.weight"].double()
    assert row.frobenius_norm == pytest.approx(float(change.norm()))


def test_a_layer_that_cannot_be_read_has_an_update_that_cannot(tmp_path: Path) -> None:
    module = model()
    module["down"].weight = nn.Parameter(torch.empty(40, 56, device="meta"))
    with monitor(tmp_path) as run:
        for step in (0, 1):
            assert "meta device" in log(run, module, step)[f"down{UPDATE}"].reason


@pytest.mark.parametrize(("made", "kept"), [("float32", "float32"), ("float64", "float64"), ("bfloat16", "bfloat16"),
                                            ("float16", "float16")])  # fmt: skip
def test_bits_are_kept_in_the_narrowest_format_that_holds_them(made: str, kept: str, tmp_path: Path) -> None:
    layer = nn.Linear(33, 20, bias=False, dtype=torch.float64)
    nn.init.normal_(layer.weight)
    layer.to(getattr(torch, made))
    (weight,) = module_inventory(nn.Sequential(layer), OPTIONS).weights
    assert exact_dtype(weight) is getattr(torch, kept)
    wide = nn.Sequential(nn.Linear(33, 20, bias=False).to(torch.bfloat16).float())
    with monitor(tmp_path) as run:
        run.log(wide, 0)
        row = log(run, wide, 1)[f"0{UPDATE}"]
    assert load_file(tmp_path / "start" / "model.safetensors")["0.weight"].dtype is torch.bfloat16
    assert (row.status, row.stored_dtype) == ("unchanged", "float32 - float32")


def test_under_peft_the_update_stays_that_of_the_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["up"], init_lora_weights=False)
    module = peft.get_peft_model(model(), config)
    module.base_model.model["head"].weight.requires_grad_(True)
    with monitor(tmp_path) as run:
        first = log(run, module, 0)
        move(module.base_model.model, "head")
        second = log(run, module, 1)
    assert first[f"up{UPDATE}"].stored_dtype == "LoRA, rank 2" and first[f"up{UPDATE}"].relative_size > 0
    assert (first[f"head{UPDATE}"].status, second[f"head{UPDATE}"].status) == ("unchanged", "ok")
    assert list(load_file(tmp_path / "start" / "model.safetensors")) == ["head.weight"]
    save_file(model().state_dict(), tmp_path / "base.safetensors")
    run = monitor(tmp_path / "other", tmp_path / "base.safetensors")
    with pytest.raises(OptionError, match='or compare with adapters="merged"'):
        run.log(module, 0)
    run.close()


@pytest.mark.parametrize("wrong", [3, "", True, ["start"]])
def test_what_is_no_baseline_is_named(wrong: Any) -> None:
    with pytest.raises(OptionError, match='baseline: expected None, "start", a path or a model id, got'):
        Monitor(baseline=wrong)


def test_files_that_were_saved_have_no_start() -> None:
    with pytest.raises(OptionError, match='baseline: "start" needs weights="module"'):
        CallbackOptions(weights="checkpoint", baseline="start")


def test_a_baseline_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError), monitor(tmp_path, tmp_path / "nothing") as run:
        run.open()
    (tmp_path / "peft").mkdir()
    save_file({"base_model.model.up.lora_A.weight": torch.ones(2, 40), "base_model.model.up.lora_B.weight":
               torch.ones(56, 2)}, tmp_path / "peft" / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(CheckpointError, match="expected a model, got an adapter"):
        monitor(tmp_path / "run", tmp_path / "peft").open()
