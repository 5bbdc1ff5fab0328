"""Plain PyTorch: one process, or several with DistributedDataParallel. No framework, only `Monitor`.

python examples/train_pytorch.py
torchrun --nproc-per-node 2 examples/train_pytorch.py
"""

import argparse
import os
from pathlib import Path

import corpus
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from alpha_callbacks import AnalysisOptions, Monitor


def main() -> None:
    """Train a small perceptron to predict the next byte from the last 63."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("results/train_pytorch"))
    parser.add_argument("--max-steps", type=int, default=60)
    options = parser.parse_args()

    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if distributed:
        dist.init_process_group("gloo")
    rank, size = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(256, 16), nn.Flatten(), nn.Linear(63 * 16, 256), nn.GELU(), nn.Linear(256, 256))
    model = DistributedDataParallel(net) if distributed else net
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    text = corpus.characters()[rank::size]
    writer = SummaryWriter(str(options.output_dir / "tensorboard")) if rank == 0 else None

    # Every rank calls the monitor: the layers are shared among them, and the first rank writes.
    sinks = ["csv", writer] if writer else ["csv"]
    with Monitor(AnalysisOptions(precisions=("fp32", "bf16")), output_dir=options.output_dir, sinks=sinks) as monitor:
        monitor.log(model, step=0, event="start")
        for step in range(1, options.max_steps + 1):
            batch = text[torch.randint(len(text), (32,))]
            loss = nn.functional.cross_entropy(model(batch[:, :-1]), batch[:, -1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                if rank == 0:
                    torch.save(net.state_dict(), options.output_dir / f"step_{step}.pt")
                monitor.log(model, step=step, event="checkpoint")
    if writer:
        writer.close()
        print(f"CSV in {options.output_dir}; look at it: tensorboard --logdir {options.output_dir}")
    if distributed:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
