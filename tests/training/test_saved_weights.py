"""Which weights count where a state was saved: those of the model, or those of the checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.training import saved_weights
from alpha_callbacks.training.saved_weights import Compared, Saved, compared
from alpha_callbacks.weights.module_weights import module_inventory

OPTIONS = AnalysisOptions(precisions=("fp32",))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 16))


def weight(model: nn.Module, layer: int) -> torch.Tensor:
    return dict(model.named_parameters())[f"{layer}.weight"]


def look(model: nn.Module, *places: Any, used: bool = True) -> Compared:
    return compared(module_inventory(model, OPTIONS).weights, Saved(places, used), Ranks(), OPTIONS)


def test_the_model_counts_where_the_file_holds_the_same_bits(tmp_path: Path) -> None:
    model = network()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    found = look(model, tmp_path / "m.pt")
    assert not found.of_first and found.note is None
    assert torch.equal(found.weights[0].rows(0, 12), weight(model, 0))


@pytest.mark.parametrize("row", [0, 5, 11])
def test_one_other_layer_makes_all_of_them_the_files(row: int, tmp_path: Path) -> None:
    model, other = network(), network()
    with torch.no_grad():
        weight(other, 0)[row, 3] += 1e-6
        weight(other, 1)[2, 0] += 1  # between the rows that are compared
    torch.save(other.state_dict(), tmp_path / "m.pt")
    found = look(model, tmp_path / "m.pt")
    assert found.of_first == {"0", "1"} and found.note is not None and found.note.name == str(tmp_path / "m.pt")
    assert torch.equal(found.weights[1].rows(0, 16), weight(other, 1))
    assert [weight.layer_name for weight in found.weights] == ["0", "1"]


@pytest.mark.parametrize("whole", [True, False])
def test_every_row_of_a_small_model_is_compared(whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a larger one three rows of each layer, which an average of weights changes too (docs/training.md)."""
    monkeypatch.setattr(saved_weights, "_BLOCK", 40)  # two rows at a time
    monkeypatch.setattr(saved_weights, "_WHOLE", 2 * 12 * 16 * 4 - (not whole))
    model, other = network(), network()
    with torch.no_grad():
        weight(other, 1)[2, 0] += 1e-6  # between the first, the middle and the last
    torch.save(other.state_dict(), tmp_path / "m.pt")
    found = look(model, tmp_path / "m.pt")
    assert found.of_first == ({"0", "1"} if whole else set()) and (found.note is not None) is whole


def test_the_place_in_memory_does_not_matter() -> None:
    model, state = network(), network().state_dict()
    for name, tensor in state.items():
        state[name] = torch.cat([torch.zeros(1), tensor.reshape(-1)])[1:].reshape(tensor.shape)  # 4 bytes further
    assert look(model, state).note is None


def test_another_format_is_another_value(tmp_path: Path) -> None:
    model = network()
    torch.save({name: tensor.bfloat16() for name, tensor in model.state_dict().items()}, tmp_path / "m.pt")
    found = look(model, tmp_path / "m.pt")
    assert [(w.stored_dtype, w.dtype) for w in found.weights] == [("bfloat16", torch.bfloat16)] * 2


def test_layers_that_are_not_in_the_file_are_the_models(tmp_path: Path) -> None:
    torch.save({"0.weight": weight(network(1), 0), "1.weight": torch.zeros(4, 4)}, tmp_path / "m.pt")
    found = look(network(), tmp_path / "m.pt")
    assert found.of_first == {"0"} and found.note is not None and "those of 1 of 2 layers" in found.note.text


def test_what_was_written_stands_in_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    found = look(network(), tmp_path / "later.ckpt", network(1).state_dict())
    assert found.of_first == {"0", "1"} and torch.equal(found.weights[0].rows(0, 12), weight(network(1), 0))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "expected"),
        (b"half a file", "expected"),
        ({"a.weight": torch.ones(16, 16)}, "names its layers otherwise"),
        ([torch.ones(12, 16)], ""),
        ({"w": torch.ones(16)}, "nothing in it is known as a layer"),
        ({"0.bias": torch.ones(12), "1.bias": torch.ones(16)}, "nothing in it is known as a layer"),
        ({}, ""),
    ],
)
def test_a_file_that_cannot_be_compared_is_told(content: Any, why: str, tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    found = look(network(), file)
    assert not found.of_first and found.note is not None and found.note.name == str(file)
    assert "not compared with the weights in training" in found.note.text and why in found.note.text


def test_the_models_rows_are_kept_where_other_states_have_no_file(tmp_path: Path) -> None:
    torch.save(network(1).state_dict(), tmp_path / "m.pt")
    model = network()
    found = look(model, tmp_path / "m.pt", used=False)
    assert found.note is not None and "which the rows are of" in found.note.text
    assert torch.equal(found.weights[0].rows(0, 12), weight(model, 0))


def test_adapters_are_compared_by_value(tmp_path: Path) -> None:
    """A product of factors depends on who computes it, in its last bits."""
    model = network()
    weights = [dataclasses.replace(w, category="other_update") for w in module_inventory(model, OPTIONS).weights]
    changed = [dataclasses.replace(w, rows=lambda a, b, w=w: w.rows(a, b) * 1.00001) for w in weights]  # type: ignore[misc]

    class Made(Saved):
        def weights(self, options: AnalysisOptions) -> Any:
            return changed

    assert not compared(weights, Made(()), Ranks(), OPTIONS).of_first


def test_adapters_apart_from_their_base_are_told(tmp_path: Path) -> None:
    """As in the checkpoint of a LightningModule with PEFT in it."""
    torch.save(network(1).state_dict(), tmp_path / "m.pt")
    weights = module_inventory(network(), OPTIONS).weights
    weights += [dataclasses.replace(w, layer_name=f"{w.layer_name} (update)", category="other_update") for w in weights]
    found = compared(weights, Saved([tmp_path / "m.pt"]), Ranks(), OPTIONS)
    assert found.note is not None and "it does not hold the updates of adapters" in found.note.text
    assert found.weights == weights


@pytest.mark.parametrize("background", [False, True])
def test_monitor_takes_a_file_or_a_state_dict(
    background: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, average = network(), network(1)
    torch.save(average.state_dict(), tmp_path / "a model.pt")
    memory = MemorySink()
    with Monitor(OPTIONS, sinks=[memory], output_dir=tmp_path, background=background) as monitor:
        for step, checkpoint in enumerate([None, tmp_path / "a model.pt", average.state_dict()]):
            monitor.log(model, step, checkpoint=checkpoint)
            monitor.poll(wait=True)
    assert len(caplog.records) == 1 and "holds other values than the model" in caplog.text  # once, whatever its name
    live, file, state = ([row.alpha for row in snapshot.table] for snapshot in memory.snapshots)
    assert live != file == state and memory.snapshots[2].reused == 2
