"""The live names of wrapped models are those that a scan of their saved state gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.saved_names import saved_paths

OPTIONS = AnalysisOptions(precisions=("fp32",))


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 13))


def names(inventory: Inventory) -> list[str]:
    return sorted(weight.layer_name for weight in inventory.weights)


class ValueHead(nn.Module):
    """Saves the model in it without a prefix, as TRL's models with a value head do."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_model, self.v_head = net(), nn.Linear(12, 12)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        saved = self.pretrained_model.state_dict(*args, **kwargs)
        return saved | {f"v_head.{name}": tensor for name, tensor in self.v_head.state_dict().items()}


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "averaged": lambda: AveragedModel(net()),
    "averaged around parallel": lambda: AveragedModel(nn.DataParallel(net())),
    "parallel around averaged": lambda: nn.DataParallel(AveragedModel(net())),
    "value head": ValueHead,
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_names_are_those_of_a_scan(wrapped: str, tmp_path: Path) -> None:
    model = WRAPPED[wrapped]()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    scanned = names(open_checkpoint(tmp_path / "m.pt").inventory(OPTIONS))
    assert names(module_inventory(model, OPTIONS)) == scanned
    assert {"0", "2"} <= set(scanned)


@pytest.mark.parametrize("inner", [net, ValueHead])
def test_fabric(inner: Callable[[], nn.Module]) -> None:
    fabric = pytest.importorskip("lightning.fabric").Fabric(accelerator="cpu", devices=1)
    found = names(module_inventory(fabric.setup(inner()), OPTIONS))
    assert found == names(module_inventory(inner(), OPTIONS))


class Part(nn.Module):
    """A part of a sentence-transformers model (6.2), as far as its names go."""

    save_in_root = False

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


class Transformer(Part):
    save_in_root = True


class Dense(Part):
    pass


class Pretrained(nn.Sequential):
    def save_pretrained(self) -> None: ...


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel, AveragedModel])
def test_parts_of_a_sentence_transformer_have_the_names_of_their_folders(wrap: Callable[[nn.Module], Any]) -> None:
    """As a scan names them: the first part is saved in the root, the others in `<number>_<class>`."""
    model = wrap(nn.Sequential(Transformer(model=Pretrained(nn.Linear(12, 12))), Dense(linear=nn.Linear(12, 12))))
    assert names(module_inventory(model, OPTIONS)) == ["0", "1_Dense.linear"]


def test_a_state_dict_that_fails_leaves_the_paths() -> None:
    class Broken(nn.Sequential):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("not now")

    model = Broken(nn.Linear(12, 12))
    assert saved_paths(model, list(model.named_modules())) == {} and names(module_inventory(model, OPTIONS)) == ["0"]
