"""A CUDA stream for each worker, so that one copies and multiplies while another solves."""

from functools import cache
from typing import Any


def enter_stream(device: str, worker: int) -> None:
    """Let the calling thread compute on a stream of its own; on a CPU nothing happens.

    A worker of this number has the same stream in every run of the process. The allocator keeps the freed memory of
    each stream apart: new streams at every checkpoint of a training run would take more of the device each time.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_stream(_stream(device, worker))


@cache
def _stream(device: str, worker: int) -> Any:
    import torch

    return torch.cuda.Stream(device)
