"""Updates of sharded weights: a model that is trained in full, and one under PEFT, since the start of the run."""

from collections.abc import Callable
from typing import Any

import peft
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from alpha_callbacks import Monitor
from alpha_callbacks.tables.table import Table
from alpha_callbacks.weights.layer_names import clean_name
from tests.distributed.worker import FOLDER, OPTIONS, Tiny, join, report


def under_peft() -> nn.Module:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=12, target_modules=["q_proj"], init_lora_weights=False)
    model: nn.Module = peft.get_peft_model(Tiny(), config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or "gate" in name)
    return model


MAKERS: dict[str, Callable[[], nn.Module]] = {"full": Tiny, "peft": under_peft}


def states(name: str, model: nn.Module, folder: Any) -> list[dict[str, Any]]:
    """Return what two states of a model give, moved in between in the same way on every rank."""
    found = []
    with Monitor(OPTIONS, sinks=[], output_dir=folder, baseline="start", on_error="raise") as monitor:
        for step in range(2):
            snapshot = monitor.log(model, step)
            assert snapshot is not None
            found.append(values(snapshot.table))
            with torch.no_grad():
                for path, parameter in model.named_parameters():
                    if clean_name(path).endswith(("gate.weight", "lora_B.default.weight", "up_proj.weight")):
                        scale(parameter)
    return found


def scale(parameter: torch.Tensor) -> None:
    """Scale rows of a parameter, each by another factor."""
    whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
    factors = torch.linspace(0.5, 1.5, whole.shape[0])[:, None]
    if isinstance(parameter, DTensor):
        from torch.distributed.tensor import distribute_tensor

        factors = distribute_tensor(factors, parameter.device_mesh, parameter.placements)
    parameter.mul_(factors)


def values(table: Table) -> dict[str, Any]:
    return {
        f"{row.layer_name} {row.precision}": [row.status, row.stored_dtype]
        + [None if x != x else x for x in (row.alpha, row.relative_size, row.stable_rank)]
        for row in table
    }


def main() -> None:
    join()
    said: dict[str, Any] = {}
    for name, make in MAKERS.items():
        model = make()
        for child in [m for m in model.modules() if type(m).__name__ == "Block"]:
            fully_shard(child)
        fully_shard(model)
        said[name] = states(name, model, FOLDER / name)
    said["files"] = sorted(path.name for path in (FOLDER / "full" / "start").iterdir())
    report(**said)


if __name__ == "__main__":
    main()
