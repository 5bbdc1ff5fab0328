"""Layer-wise control on several ranks. Arguments: names in MODES."""

import sys
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from alpha_callbacks import LayerwiseControl, split_per_layer
from tests.distributed.worker import FOLDER, RANK, Tiny, batch, fingerprint, join, report

STEPS, CUT = 6, 3
OPTIONS: dict[str, Any] = dict(rule="llr", every=2, ramp=3, until=1.0, min_eigs=16)


def fsdp2() -> nn.Module:
    model = Tiny()
    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)


MODES = {"ddp": lambda: DistributedDataParallel(Tiny()), "fsdp2": fsdp2}


def prepared(model: nn.Module) -> torch.optim.Optimizer:
    return split_per_layer(model, torch.optim.AdamW(model.parameters(), lr=0.01))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, control: LayerwiseControl, steps: range) -> list[Any]:
    told = []
    for step in steps:
        torch.manual_seed(step)  # of dropout
        decision = control.update(step)
        told.append(decision and {name: value.hex() for name, value in decision.multipliers.items()})
        model(batch(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return told


def run(mode: str) -> dict[str, Any]:
    """Train, and train again from a checkpoint of the middle: of torch.save under DDP, distributed under FSDP2."""
    path = FOLDER / f"{mode}_{RANK if mode == 'ddp' else ''}"
    model = MODES[mode]()
    optimizer = prepared(model)
    with LayerwiseControl(model, optimizer, **OPTIONS) as control:
        told = train(model, optimizer, control, range(CUT))
        if mode == "ddp":
            torch.save([model.state_dict(), optimizer.state_dict()], path)
        else:
            dcp.save(dict(zip("mo", get_state_dict(model, optimizer), strict=True)), checkpoint_id=path)
        told += train(model, optimizer, control, range(CUT, STEPS))
        last = {name: value.hex() for name, value in control.multipliers.items()}
    again = MODES[mode]()
    optimizer = prepared(again)
    if mode == "ddp":
        states = torch.load(path, weights_only=True)
        again.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])
    else:
        states = dict(zip("mo", get_state_dict(again, optimizer), strict=True))
        dcp.load(states, checkpoint_id=path)
        set_state_dict(again, optimizer, model_state_dict=states["m"], optim_state_dict=states["o"])
    with LayerwiseControl(again, optimizer, **OPTIONS) as control:  # after loading, as frameworks do
        resumed = train(again, optimizer, control, range(CUT, STEPS))
    same = fingerprint(again)["held"] == fingerprint(model)["held"]
    return {"told": told, "resumed": resumed, "last": last, "same": same}


def refused() -> str:
    model = Tiny()
    try:
        LayerwiseControl(model, prepared(model), **OPTIONS | {"every": 2 + RANK})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    join()
    report(**{mode: run(mode) for mode in sys.argv[1:]}, refused=refused())
