"""Tensors as a checkpoint or a live model holds them -> the one matrix in them, for tests of layouts."""

import json
from collections.abc import Mapping
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
LAYER = "model.layers.0.mlp.gate_proj"


def of_file(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], metadata: dict[str, str] | None = None
) -> Inventory:
    """Return what a checkpoint with these tensors holds."""
    saved = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(saved, folder / "model.safetensors", metadata=metadata)
    (folder / "config.json").write_text(json.dumps(config))
    return open_checkpoint(folder).inventory(OPTIONS)


def of_module(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Inventory:
    """Return what a live model with these buffers holds."""
    model = nn.Module()
    model.config = type("Config", (), {"to_dict": lambda _: dict(config)})()
    for name, tensor in tensors.items():
        module = model
        *path, last = name.split(".")
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(last, tensor)
    return module_inventory(model, OPTIONS)


def only(inventory: Inventory) -> Weight:
    """Return the one matrix, read in pieces that no layout expects."""
    (weight,) = inventory.weights
    whole = weight.rows(0, weight.out_features)
    assert whole.shape == (weight.out_features, weight.in_features)
    for start, stop in ((0, 1), (3, 11), (7, 7), (weight.out_features - 5, weight.out_features)):
        assert torch.equal(weight.rows(start, stop), whole[start:stop])
    return weight


def reasons(inventory: Inventory) -> dict[str, str]:
    """Return why each other tensor is no matrix, by the last part of its name."""
    return {skipped.name.rpartition(".")[2]: skipped.reason for skipped in inventory.skipped}


def words(codes: Tensor, bits: int) -> Tensor:
    """Pack rows of codes into int32, code by code by way of Python's integers, lowest bits first, without gaps."""
    packed = []
    for row in codes.tolist():
        number = sum(int(code) << bits * i for i, code in enumerate(row))
        count = len(row) * bits // 32
        packed.append([number >> 32 * i & 0xFFFFFFFF for i in range(count)])
    return torch.tensor(packed, dtype=torch.int64).to(torch.uint32).view(torch.int32)
