"""The same tensors as a safetensors folder, as a file of torch.save, and as a live model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight

OPTIONS = AnalysisOptions(precisions=("fp32",))
Config = dict[str, Any]


class ModelOf(nn.Module):
    """A live model whose parameters are given tensors, with a config as transformers has it."""

    def __init__(self, tensors: dict[str, Tensor], config: Config) -> None:
        super().__init__()
        self.config = type("Config", (), {"to_dict": lambda _: config})()
        for name, tensor in tensors.items():
            module: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))


def write_folder(folder: Path, tensors: dict[str, Tensor], config: Config) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def of_files(folder: Path, tensors: dict[str, Tensor], config: Config) -> Inventory:
    return open_checkpoint(write_folder(folder, tensors, config)).inventory(OPTIONS)


def of_torch_files(folder: Path, tensors: dict[str, Tensor], config: Config) -> Inventory:
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    return open_checkpoint(folder).inventory(OPTIONS)


def of_module(folder: Path, tensors: dict[str, Tensor], config: Config) -> Inventory:
    return module_inventory(ModelOf(tensors, config), OPTIONS)


Source = Callable[[Path, dict[str, Tensor], Config], Inventory]
SOURCES: tuple[Source, ...] = (of_files, of_torch_files, of_module)


def assert_decoded(inventory: Inventory, expected: dict[str, Tensor]) -> None:
    """Compare every weight, read whole and in pieces that begin anywhere."""
    assert [weight.layer_name for weight in inventory.weights] == list(expected)
    for weight in inventory.weights:
        assert weight.unsupported == ""
        wanted = expected[weight.layer_name]
        assert (weight.out_features, weight.in_features) == tuple(wanted.shape)
        for start, stop in ((0, len(wanted)), (1, 2), (len(wanted) // 3, len(wanted) - 1), (0, 0)):
            found = weight.rows(start, stop)
            assert found.dtype == weight.dtype == wanted.dtype
            assert torch.equal(found, wanted[start:stop])


def reasons(inventory: Inventory) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in inventory.skipped}


def only(inventory: Inventory) -> Weight:
    (weight,) = inventory.weights
    return weight
