"""Weights of weight_norm and spectral_norm, from files and from modules, against what torch computes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory

OPTIONS = AnalysisOptions()
NEW = nn.utils.parametrizations
NORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": NEW.weight_norm,
    "weight_norm of columns": lambda layer: NEW.weight_norm(layer, dim=1),
    "weight_norm of all": lambda layer: NEW.weight_norm(layer, dim=None),
    "spectral_norm": NEW.spectral_norm,
    "weight_norm, old": nn.utils.weight_norm,
    "weight_norm of columns, old": lambda layer: nn.utils.weight_norm(layer, dim=1),
    "spectral_norm, old": nn.utils.spectral_norm,
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 14),
    "one row": lambda: nn.Conv1d(12, 1, 3),
    "convolution": lambda: nn.Conv2d(12, 14, 3),
    "transposed": lambda: nn.ConvTranspose1d(12, 12, 3),  # square: no size tells which dimension is in front
}


def saved(module: nn.Module, folder: Path) -> Inventory:
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / "model.safetensors")
    return open_checkpoint(folder).inventory(OPTIONS)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("norm", NORMS)
def test_the_weight_is_what_torch_computes(norm: str, layer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"up": NORMS[norm](LAYERS[layer]())})
    inputs = torch.randn(1, 12, *{"linear": (), "convolution": (5, 5)}.get(layer, (5,)))
    module["up"](inputs)  # one power iteration, without which the old vectors are of no matrix
    module.eval()["up"](inputs)
    expected = module["up"].weight.detach()
    for inventory in (module_inventory(module, OPTIONS), saved(module, tmp_path)):
        (weight,) = inventory.weights
        assert weight.layer_name == "up" and weight.stored_dtype == "float32"
        torch.testing.assert_close(weight.rows(0, weight.out_features), expected.flatten(1), rtol=1e-6, atol=1e-7)
        assert not any(tensor.unknown for tensor in inventory.skipped)


def test_what_a_file_does_not_tell_is_a_row_without_alpha(tmp_path: Path) -> None:
    module = nn.ModuleDict({"up": NEW.orthogonal(nn.Linear(12, 12))})
    (weight,) = saved(module, tmp_path).weights
    assert weight.layer_name == "up" and weight.unsupported.startswith("computed by a parametrization")
    (live,) = module_inventory(module, OPTIONS).weights
    assert not live.unsupported


def test_a_pruned_layer(tmp_path: Path) -> None:
    module = nn.ModuleDict({"up": prune.l1_unstructured(nn.Linear(12, 14), "weight", amount=0.5)})
    (weight,) = saved(module, tmp_path).weights
    assert weight.layer_name == "up" and torch.equal(weight.rows(0, 14), module["up"].weight.detach())
    assert float((weight.rows(0, 14) == 0).float().mean()) == 0.5


def test_names_alone_make_no_weight(tmp_path: Path) -> None:
    tensors = {"up.weight_g": torch.ones(3, 3), "up.weight_v": torch.ones(5, 4), "down.weight_orig": torch.ones(4, 4)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert open_checkpoint(tmp_path).inventory(OPTIONS).weights == []
