"""Loops that a user writes: plain, in the manner of nanoGPT, Fabric's, accelerate's on two processes, FSDP2's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alpha_callbacks import AnalysisOptions, Monitor
from benchmarks.training_hosts.host import (
    PRECISIONS,
    Copies,
    Trained,
    batch,
    read_safetensors,
    read_torch,
    small_net,
    tensorboard_steps,
    wandb_steps,
)
from benchmarks.training_hosts.ranks import on_two_ranks

STEPS, EVERY = 6, 2


def monitored(folder: Path, sinks: Any = ("csv", "tensorboard")) -> Monitor:
    """Return the monitor of a loop."""
    return Monitor(AnalysisOptions(precisions=PRECISIONS), sinks=list(sinks), output_dir=folder / "alpha_hill")


def plain(folder: Path, attached: bool, copies: Copies) -> Trained:
    """A loop with a W&B run of its own."""
    import wandb

    run = wandb.init(project="hosts", mode="offline", dir=folder)
    monitor = monitored(folder, ["csv", "tensorboard", run]) if attached else None
    net = small_net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)

    def save(step: int) -> None:
        torch.save(net.state_dict(), folder / f"{step}.pt")

    for step in range(STEPS + 1):
        run.log({"loss": _step(net, optimizer, step)}, step=step)
        measure(monitor, net, step, save, copies)
    if monitor:
        monitor.close()
        copies.make("after", monitor)
    run.finish()
    heard = {"TensorBoard": tensorboard_steps(folder), "W&B": wandb_steps(folder)} if attached else {}
    return _ended(folder, net.state_dict(), attached, heard, lambda path: read_torch(path))


def like_nanogpt(folder: Path, attached: bool, copies: Copies) -> Trained:
    """A compiled model, micro-steps, a scaler, a checkpoint that holds more than the model: nanoGPT's train.py."""
    monitor = monitored(folder) if attached else None
    raw_model = small_net()
    model: Any = torch.compile(raw_model, backend="eager")
    optimizer = torch.optim.AdamW(raw_model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    def save(step: int) -> None:
        state = {"model": raw_model.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": step}
        torch.save(state, folder / f"{step}.pt")

    for step in range(STEPS + 1):
        for micro in range(2):
            scaler.scale(model(batch(step, micro)).square().mean() / 2).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        measure(monitor, model, step, save, copies)
    if monitor:
        monitor.close()
        copies.make("after", monitor)
    heard = {"TensorBoard": tensorboard_steps(folder)} if attached else {}
    return _ended(folder, raw_model.state_dict(), attached, heard, lambda path: read_torch(path, "model"))


def fabric(folder: Path, attached: bool, copies: Copies) -> Trained:
    """Fabric's loop, with its logger."""
    import lightning as L
    from lightning.fabric.loggers.tensorboard import TensorBoardLogger

    logger = TensorBoardLogger(folder)
    runner = L.Fabric(accelerator="cpu", devices=1, loggers=[logger])
    runner.launch()
    monitor = monitored(folder, ["csv", logger]) if attached else None
    net: Any = small_net()
    net, optimizer = runner.setup(net, torch.optim.AdamW(net.parameters(), lr=1e-2))
    for step in range(STEPS + 1):
        loss = net(batch(step)).square().mean()
        runner.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        runner.log("loss", loss, step)
        measure(monitor, net, step, lambda step: runner.save(folder / f"{step}.pt", {"model": net}), copies)
    if monitor:
        monitor.close()
        copies.make("after", monitor)
    heard = {"TensorBoard": tensorboard_steps(folder)} if attached else {}
    return _ended(folder, net.module.state_dict(), attached, heard, lambda path: read_torch(path, "model"))


def accelerate_ddp(folder: Path, attached: bool, copies: Copies) -> Trained:
    """Accelerate's loop on two gloo processes, with the environment that `accelerate launch` sets."""

    def work(rank: int, told: Callable[[str], object]) -> None:
        import accelerate

        accelerator = accelerate.Accelerator(cpu=True)
        assert accelerator.num_processes == 2
        monitor = monitored(folder) if attached else None
        net: Any = small_net()
        net, optimizer = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), lr=1e-2))

        def save(step: int) -> None:
            accelerator.save_model(net, folder / str(step))
            accelerator.wait_for_everyone()

        mine = Copies()
        for step in range(STEPS + 1):
            accelerator.backward(net(batch(step, rank)).square().mean())
            optimizer.step()
            optimizer.zero_grad()
            measure(monitor, net, step, save, mine)
        if monitor:
            monitor.close()
            mine.make("after", monitor)
        if rank == 0:
            torch.save(accelerator.unwrap_model(net).state_dict(), folder / "end.pt")
        _tell(told, mine)
        accelerator.end_training()

    _collect(copies, on_two_ranks(work, ACCELERATE_USE_CPU="true"))
    saved = {step: read_safetensors(folder / str(step)) for step in range(0, STEPS + 1, EVERY)}
    heard = {"TensorBoard": tensorboard_steps(folder)} if attached else {}
    results = folder / "alpha_hill" if attached else None
    return Trained(read_torch(folder / "end.pt"), saved, results, heard)


def fsdp2(folder: Path, attached: bool, copies: Copies) -> Trained:
    """Sharded on two gloo processes, with distributed checkpoints, as torchtitan's loop."""

    def work(rank: int, told: Callable[[str], object]) -> None:
        import torch.distributed as dist
        from torch.distributed.checkpoint.state_dict import get_model_state_dict
        from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        dist.init_process_group("gloo")
        mesh = init_device_mesh("cpu", (2,))
        net = small_net()
        for layer in net:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        fully_shard(net, mesh=mesh)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
        monitor = monitored(folder) if attached else None
        mine = Copies()
        for step in range(STEPS + 1):
            net(batch(step, rank)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            measure(
                monitor,
                net,
                step,
                lambda step: save_distributed(get_model_state_dict(net), checkpoint_id=folder / str(step)),
                mine,
            )
        if monitor:
            monitor.close()
            mine.make("after", monitor)
        _tell(told, mine)
        dist.destroy_process_group()

    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    _collect(copies, on_two_ranks(work))
    saved = {}
    for step in range(0, STEPS + 1, EVERY):
        dcp_to_torch_save(folder / str(step), folder / f"{step}.pt")
        saved[step] = read_torch(folder / f"{step}.pt")
    heard = {"TensorBoard": tensorboard_steps(folder)} if attached else {}
    return Trained(saved[STEPS], saved, folder / "alpha_hill" if attached else None, heard)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> float:
    loss: torch.Tensor = net(batch(step)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def measure(monitor: Monitor | None, net: nn.Module, step: int, save: Callable[[int], None], copies: Copies) -> None:
    """Save and log every second step; copy before the first, and in mid-run."""
    if step % EVERY:
        return
    save(step)
    if monitor:
        if step == 0:
            copies.make("before", monitor)
        monitor.log(net, step)
        if step == EVERY:
            copies.make("during", monitor)


def _ended(
    folder: Path,
    state: Any,
    attached: bool,
    heard: dict[str, list[int]],
    read: Callable[[Path], Any],
) -> Trained:
    saved = {step: read(folder / f"{step}.pt") for step in range(0, STEPS + 1, EVERY)}
    return Trained(state, saved, folder / "alpha_hill" if attached else None, heard)


def _tell(told: Callable[[str], object], copies: Copies) -> None:
    told("\n".join([*(f"made {each}" for each in copies.made), *(f"failed {each}" for each in copies.failed)]))


def _collect(copies: Copies, told: list[str]) -> None:
    for rank, text in enumerate(told):
        for line in filter(None, text.splitlines()):
            kind, _, what = line.partition(" ")
            (copies.made if kind == "made" else copies.failed).append(f"rank {rank} {what}")
