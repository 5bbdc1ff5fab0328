"""Several processes on one scan: who takes which layers, and how the results come together."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from alpha_callbacks.errors import OptionError
from alpha_callbacks.loop import predicted_cost
from alpha_callbacks.weight import Weight

_PATIENCE = timedelta(days=7)  # a rank that dies breaks its connections or is noticed by torchrun; slow is not dead


def share(weights: Sequence[Weight], index: int, count: int) -> list[Weight]:
    """Return the weights of one of `count` processes: largest first, each to the least loaded, the same on all of them.

    Args:
        weights: all of them, in the same order in each process.
        index: which process, from 0.
        count: number of processes.
    """
    loads = [0.0] * count
    mine = []
    for weight in sorted(weights, key=predicted_cost, reverse=True):
        lightest = loads.index(min(loads))
        loads[lightest] += predicted_cost(weight)
        if lightest == index:
            mine.append(weight)
    return mine


@dataclass(frozen=True)
class Shard:
    """One job of an array that has no connection to the others.

    Attributes:
        index: from 1 to count.
        count: number of jobs.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of "i/n".

        Raises:
            OptionError: not of that form, or i outside 1..n.
        """
        left, slash, right = text.partition("/")
        if not (slash and left.isdigit() and right.isdigit() and 1 <= int(left) <= int(right)):
            raise OptionError(f"shard: expected i/n with 1 <= i <= n, got {text!r}. For example: 2/8.")
        return cls(int(left), int(right))


class Ranks(AbstractContextManager["Ranks"]):
    """The processes that torchrun started; one process alone needs no torch.distributed."""

    def __init__(self) -> None:
        """Read torchrun's environment."""
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))

    def __enter__(self) -> "Ranks":
        """Join the group (gloo: results are small and live on the CPU)."""
        if self.size > 1:
            import torch.distributed as dist

            dist.init_process_group("gloo", timeout=_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the group; after an error the others learn of it from torchrun, waiting for them would hang."""
        if self.size > 1 and error is None:
            import torch.distributed as dist

            dist.destroy_process_group()

    def from_first(self, value: Any) -> Any:
        """Return the value that rank 0 holds."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values
