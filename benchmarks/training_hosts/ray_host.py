"""Ray Train: the loop runs in two worker processes that Ray starts, and its report takes the checkpoints."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_hosts.host import Copies, Trained, batch, read_torch, small_net, tensorboard_steps
from benchmarks.training_hosts.loops import EVERY, STEPS, measure, monitored


def trainer(folder: Path, attached: bool, copies: Copies) -> Trained:
    """TorchTrainer with two workers (DDP over gloo)."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "integrations"), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=3, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}},
    )  # fmt: skip
    try:
        TorchTrainer(
            _loop,
            train_loop_config={"folder": str(folder), "attached": attached},
            scaling_config=ScalingConfig(num_workers=2),
            torch_config=TorchConfig(backend="gloo"),
            run_config=RunConfig(storage_path=str(folder / "ray"), name="run"),
        ).fit()
    finally:
        ray.shutdown()
    made = [json.loads((folder / f"copies_{rank}.json").read_text()) for rank in range(2)]
    copies.made += [each for of_rank in made for each in of_rank["made"]]
    copies.failed += [each for of_rank in made for each in of_rank["failed"]]
    saved = {step: read_torch(folder / f"{step}.pt") for step in range(0, STEPS + 1, EVERY)}
    heard = {"TensorBoard": tensorboard_steps(folder)} if attached else {}
    return Trained(saved[STEPS], saved, folder / "alpha_hill" if attached else None, heard)


def _loop(config: Mapping[str, Any]) -> None:
    import ray.train
    from ray.train.torch import prepare_model

    folder, rank = Path(config["folder"]), ray.train.get_context().get_world_rank()
    monitor = monitored(folder) if config["attached"] else None
    net = prepare_model(small_net())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    mine = Copies()

    def save(step: int) -> None:
        if rank == 0:
            torch.save(net.module.state_dict(), folder / f"{step}.pt")

    for step in range(STEPS + 1):
        loss = net(batch(step, rank)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        measure(monitor, net, step, save, mine)
        ray.train.report({"loss": loss.item()})
    if monitor:
        monitor.close()
        mine.make("after", monitor)
    (folder / f"copies_{rank}.json").write_text(json.dumps({"made": mine.made, "failed": mine.failed}))
