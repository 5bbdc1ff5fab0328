"""The rules by which weights are found in a saved object, and that nothing beside them is lost without a word."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.torch_files import state_dicts
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise

W, V = noise(6, 4), noise(6, 4, seed=1)
STATE, OTHER = {"a.weight": W, "a.bias": W[:, 0]}, {"a.weight": V, "a.bias": V[:, 0]}


class Config(dict[str, Any]):
    """A dict of another class, as configuration libraries have them."""


ADAM = {"state": {0: {"exp_avg": V}}}
FOUND: dict[str, tuple[Any, str, str]] = {  # content, name of the matrix, where the note says it was
    "plain": (STATE, "a.weight", ""),
    "Lightning": ({"state_dict": STATE, "callbacks": {"best": torch.tensor(1.0)}}, "a.weight", "state_dict"),
    "timm": ({"arch": "vit", "state_dict": STATE, "state_dict_ema": OTHER}, "a.weight", "state_dict"),
    "OpenMMLab": ({"meta": {"seed": 1}, "state_dict": STATE, "optimizer": ADAM}, "a.weight", "state_dict"),
    "Whisper": ({"dims": {"n_mels": 80}, "model_state_dict": STATE}, "a.weight", "model_state_dict"),
    "nnU-Net": ({"network_weights": STATE, "optimizer_state": {}, "init_args": {}}, "a.weight", "network_weights"),
    "fairseq": ({"args": None, "model": STATE, "last_optimizer_state": ADAM}, "a.weight", "model"),
    "Megatron": ({"model": {"language_model": {"encoder": STATE}}}, "language_model.encoder.a.weight", "model"),
    "ESRGAN": ({"params_ema": STATE}, "a.weight", "params_ema"),
    "both of ESRGAN": ({"params": STATE, "params_ema": OTHER}, "a.weight", "params"),
    "model and ema": ({"ema": OTHER, "model": STATE}, "a.weight", "model"),
    "GAN": ({"discriminator": OTHER, "generator": STATE}, "a.weight", "generator"),
    "nested": ({"model": {"state_dict": STATE}}, "a.weight", "model.state_dict"),
    "torchtitan": ({"app": {"model": STATE, "optim": {"exp_avg": V}}}, "a.weight", "app.model"),
    "empty entry first": ({"model": {}, "state_dict": STATE}, "a.weight", "state_dict"),
    "entry is a config": ({"model": {"name": "x", "dim": 3}, "net": STATE}, "a.weight", "net"),
    "decay only": ({"ema": {"decay": torch.tensor(0.9)}, "anything": STATE}, "a.weight", "anything"),
    "only one": ({"my_weights": STATE, "epoch": 1}, "a.weight", "my_weights"),
    "beside tensors": ({"model": STATE, "extra.weight": V}, "a.weight", "model"),
    "more tensors than in it": ({"a.weight": W, "b.weight": V, "model": {"weight": V}}, "a.weight", ""),
    "submodule called model": ({"model": nn.ModuleDict({"model": nn.Linear(4, 6)})}, "model.weight", "model"),
    "another class": (Config(net=Config(STATE)), "a.weight", "net"),
    "flat with optimizer": ({"a.weight": W, "optimizer.state.0.exp_avg.weight": V}, "a.weight", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_weights_are_found_by_rule_and_the_rule_is_said(name: str, tmp_path: Path) -> None:
    content, matrix, place = FOUND[name]
    torch.save(content, tmp_path / "x.pth.tar")
    checkpoint = open_checkpoint(tmp_path / "x.pth.tar")
    inventory = checkpoint.inventory(AnalysisOptions(precisions=("fp32",)))
    expected = content["model"].state_dict()["model.weight"] if name.startswith("submodule") else W
    assert torch.equal(next(t for t in checkpoint.tensors if t.name == matrix).read(0, 6), expected)
    assert matrix.removesuffix(".weight") in [weight.layer_name for weight in inventory.weights]
    said = [note for note in checkpoint.notes if "weights read from" in note]
    assert [f"'{place}'" in note for note in said] == ([True] if place else [])


def test_every_tensor_is_a_row_or_has_a_reason(tmp_path: Path) -> None:
    optimizer = {"state": {0: {"exp_avg": V, "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    model = {"module.a.weight": W, "module.b.weight": V}
    saved = {"model": model, "ema": OTHER, "optimizer": optimizer, "extra.weight": V, "a.weight": V}
    torch.save(saved, tmp_path / "x.pt")
    checkpoint = open_checkpoint(tmp_path / "x.pt")
    inventory = checkpoint.inventory(AnalysisOptions(precisions=("fp32",)))
    assert [weight.layer_name for weight in inventory.weights] == ["a", "b"]
    assert torch.equal(inventory.weights[0].rows(0, 6), W)
    assert {tensor.name: tensor.reason for tensor in inventory.skipped} == {
        "ema.a.weight": "beside the weights in 'model', which were read",
        "ema.a.bias": "beside the weights in 'model', which were read",
        "optimizer.state.0.exp_avg": "optimizer state, not a weight",
        "optimizer.state.0.step": "optimizer state, not a weight",
        "extra.weight": "beside the weights in 'model', which were read",
        "a.weight": "beside the weights in 'model', which were read",
    }
    assert checkpoint.notes == ("x.pt: weights read from 'model'; 'ema' holds others, which were left out.",)


def test_flat_names_of_an_optimizer_are_no_layers_in_any_format(tmp_path: Path) -> None:
    save_file({"a.weight": W, "optimizer.state.0.exp_avg.weight": V}, tmp_path / "model.safetensors")
    inventory = open_checkpoint(tmp_path).inventory(AnalysisOptions(precisions=("fp32",)))
    assert [weight.layer_name for weight in inventory.weights] == ["a"]
    assert inventory.skipped[0].reason == "optimizer state, not a weight"


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        ({"encoder": STATE, "decoder": OTHER}, "its entries are encoder, decoder"),
        ({"epoch": 1}, "its entries are epoch"),
        ([1, 2], "its entries are 0, 1"),
        (3, "no dict of tensors but int"),
        ({"optimizer": {"exp_avg": V}}, "its entries are optimizer"),
    ],
)
def test_without_a_rule_the_entries_are_listed(content: Any, entries: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"x\.pt: expected a dict of tensors, got .*{entries}"):
        open_checkpoint(tmp_path / "x.pt")


def test_an_object_within_itself_and_one_in_a_million_places_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cyclic: dict[str, Any] = {"a.weight": W}
    cyclic["self"] = cyclic
    torch.save({"state_dict": cyclic}, tmp_path / "x.pt")
    assert {t.name for t in open_checkpoint(tmp_path / "x.pt").tensors if not t.companion} == {"a.weight"}
    level: list[Any] = []
    for _ in range(60):
        level = [level, level]
    torch.save({"state_dict": STATE, "bomb": level}, tmp_path / "x.pt")
    assert len(open_checkpoint(tmp_path / "x.pt").tensors) == 2
    monkeypatch.setattr(state_dicts, "_MOST", 1000)
    level.append(V)
    torch.save({"state_dict": STATE, "bomb": level}, tmp_path / "x.pt")
    assert len(open_checkpoint(tmp_path / "x.pt").tensors) == 3

    innermost = level
    while len(innermost) > 1 and isinstance(innermost[0], list) and innermost[0]:
        innermost = innermost[0]
    innermost.append(V)
    torch.save({"state_dict": STATE, "bomb": level}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="more than 1,000 entries that lead to tensors"):
        open_checkpoint(tmp_path / "x.pt")
