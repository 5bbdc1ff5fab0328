"""Sharded models, each trained without and with a Monitor. Arguments: names in MAKERS."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from alpha_callbacks import Monitor
from alpha_callbacks.weights.layer_names import clean_name
from tests.distributed.worker import (
    FOLDER,
    OPTIONS,
    RANK,
    Block,
    Tiny,
    alphas,
    analysed,
    batch,
    fingerprint,
    join,
    report,
    train,
)


def fsdp2(*, tied: bool = False, **options: Any) -> nn.Module:
    model = Tiny(tied=tied)
    for layer in model.layers:
        fully_shard(layer, **options)
    return fully_shard(model, **options)


def tensor_parallel(mesh: DeviceMesh | None = None) -> Tiny:
    model = Tiny()
    plan = {
        "attn.q_proj": ColwiseParallel(),
        "attn.o_proj": RowwiseParallel(),
        "mlp.up_proj": ColwiseParallel(),
        "mlp.down_proj": RowwiseParallel(),
    }
    for layer in model.layers:
        parallelize_module(layer, mesh or init_device_mesh("cpu", (dist.get_world_size(),)), plan)
    return model


def two_dimensional() -> nn.Module:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = tensor_parallel(mesh["tp"])
    for layer in model.layers:
        fully_shard(layer, mesh=mesh["dp"])
    return fully_shard(model, mesh=mesh["dp"])


def fsdp1(*, use_orig_params: bool, tied: bool = True, ignore: bool = False) -> nn.Module:
    model = Tiny(tied=tied)
    return FullyShardedDataParallel(
        model,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        use_orig_params=use_orig_params,
        ignored_modules=[model.gate] if ignore else None,
        device_id=torch.device("cpu"),
    )


TIED = {"fsdp2_tied", "fsdp1_orig", "fsdp1_flat"}
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "fsdp2": fsdp2,
    "fsdp2_tied": lambda: fsdp2(tied=True),
    "fsdp2_bf16": lambda: fsdp2(mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16)),
    "tp": tensor_parallel,
    "2d": two_dimensional,
    "fsdp1_orig": lambda: fsdp1(use_orig_params=True),
    "fsdp1_flat": lambda: fsdp1(use_orig_params=False),
    "fsdp1_ignored": lambda: fsdp1(use_orig_params=True, tied=False, ignore=True),
}


def examine(name: str) -> dict[str, Any]:
    rank = {"tp": 0, "2d": RANK // 2}.get(name, RANK)  # those of one tensor-parallel group see the same batch
    bare = MAKERS[name]()
    said: dict[str, Any] = {"bare": train(bare, 2, rank=rank), "untouched": [], "looks": []}
    model = MAKERS[name]()
    with Monitor(OPTIONS, sinks=[], on_error="raise", output_dir=FOLDER / "none") as monitor, analysed() as names:

        def look(step: int) -> dict[str, Any]:
            names.clear()
            before = fingerprint(model)
            with counted_gathers() as gathers:
                snapshot = monitor.log(model, step)
            said["untouched"].append(fingerprint(model) == before)
            said["looks"].append([step, snapshot.reused, sorted(names), gathers[0]])
            return said.setdefault("first", alphas(snapshot.table)) and alphas(snapshot.table)

        said["losses"] = train(model, 2, look, rank=rank)
        said["same_end"] = fingerprint(model)["held"] == fingerprint(bare)["held"]
        change(model, "layers.1.mlp.up_proj")
        said["last"] = look(40)
        change(model, "gate")
        said["last"] = look(50)
        model.eval()
        with torch.no_grad():
            model(batch(0, rank))
        said["evaluated"] = look(60)
        whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        average = FOLDER / f"average_{RANK}.pt"  # which only the first rank has, as it is the one that writes
        if RANK == 0:
            torch.save(whole, FOLDER / f"{name}.pt")
            torch.save(Tiny(tied=name in TIED, seed=1).state_dict(), average)
        said["averaged"] = alphas(monitor.log(model, 70, checkpoint=average).table)
        said["saved"] = alphas(monitor.log(model, 80, checkpoint=FOLDER / f"{name}.pt").table)
        said["reused"] = monitor.log(model, 90, checkpoint=FOLDER / f"{name}.pt").reused
    return said


def change(model: nn.Module, layer: str) -> None:
    """Scale one weight in place."""
    summoned = (
        FullyShardedDataParallel.summon_full_params(model, writeback=True)
        if isinstance(model, FullyShardedDataParallel)
        else nullcontext()
    )
    with summoned, torch.no_grad():
        found = [tensor for name, tensor in model.named_parameters() if clean_name(name) == f"{layer}.weight"]
        found[0].mul_(1.5)


@contextmanager
def counted_gathers() -> Iterator[list[int]]:
    """Count how often a DTensor is gathered."""
    calls, real = [0], DTensor.full_tensor

    def spy(tensor: DTensor, **options: Any) -> Any:
        calls[0] += 1
        return real(tensor, **options)

    DTensor.full_tensor = spy
    try:
        yield calls
    finally:
        DTensor.full_tensor = real


def main() -> None:
    join()
    report(**{name: examine(name) for name in sys.argv[1:]})


if __name__ == "__main__":
    main()
