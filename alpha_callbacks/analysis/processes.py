"""Several processes on one scan: who takes which layers, and how the results come together."""

import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from alpha_callbacks.analysis.parallel import predicted_cost
from alpha_callbacks.errors import OptionError, PeerError
from alpha_callbacks.weights.weight import Weight

_T = TypeVar("_T")

ATTENDANCE = timedelta(minutes=5)  # for all ranks to get here the first time; below the timeouts of training groups
_PATIENCE = timedelta(days=7)  # a rank that dies breaks its connections or is noticed by torchrun; slow is not dead
# Gloo's thread drops the tensors of an exchange a moment after we have the answer, and needs Python's lock for it. In a
# process that ends just then it is "terminate called without an active exception", exit code -6 (seen in torch 2.13).
_LET_GO = 0.001


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
class ScanShare:
    """One job of an array that has no connection to the others.

    Attributes:
        index: from 1 to count.
        count: number of jobs.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "ScanShare":
        """Return the shard of "i/n".

        Raises:
            OptionError: not of that form, or i outside 1..n.
        """
        left, slash, right = text.partition("/")
        if not (slash and left.isdigit() and right.isdigit() and 1 <= int(left) <= int(right)):
            raise OptionError(f"shard: expected i/n with 1 <= i <= n, got {text!r}. For example: 2/8.")
        return cls(int(left), int(right))


class Ranks:
    """Processes that work on the same model; one process alone needs no torch.distributed."""

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        """Take the rank, the number of processes, and the process group (None: the default one)."""
        self.rank, self.size, self._group = rank, size, group

    def from_first(self, value: Any) -> Any:
        """Return the value that rank 0 holds."""
        return self.gather(value)[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank. Collective.

        Raises:
            PeerError: the connection to another rank broke.
        """
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, value, group=self._group)
        except RuntimeError as error:  # gloo's; it comes at once when the process at the other end is gone
            raise PeerError(
                f"rank {self.rank}: expected an answer of every rank, the connection to one is lost. "
                f"See the output of the others, the first error there is the cause. ({error})"
            ) from error
        time.sleep(_LET_GO)
        return values

    def agree(self, task: Callable[[], _T]) -> list[_T]:
        """Run a task on every rank and return all results, or raise on all of them if it failed on one. Collective.

        No rank leaves early, so none waits for one that is gone.

        Raises:
            Exception: that of this rank.
            PeerError: the task failed on another rank.
        """
        if self.size == 1:
            return [task()]
        result, failure = b"", None
        try:
            result = pickle.dumps(task())  # here: where it fails inside the exchange, the others wait for this rank
        except Exception as error:
            failure = error
        outcomes = self.gather((result, failure and _told(failure)))
        if failure is not None:
            raise failure
        for rank, (_, problem) in enumerate(outcomes):
            if problem is not None:
                raise PeerError(f"rank {rank}: {problem}")
        return [pickle.loads(result) for result, _ in outcomes]


def _told(failure: Exception) -> str:
    try:
        return f"{type(failure).__name__}: {failure}"
    except Exception:  # of a __str__ that fails: the others must hear of it all the same
        return type(failure).__name__


class Torchrun(Ranks, AbstractContextManager["Torchrun"]):
    """The processes that torchrun started, joined for the time of a `with` block."""

    def __init__(self) -> None:
        """Read torchrun's environment."""
        super().__init__(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def __enter__(self) -> "Torchrun":
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


def training_ranks() -> Ranks:
    """Return the processes of the training run that this one is part of, joined in a group of our own. Collective.

    Our group is gloo, so that results never queue behind NCCL's kernels and its watchdog sees no wait of ours, and
    it is patient: a rank that is slow is waited for; one that dies breaks its connections, which ends the wait at once.

    Raises:
        PeerError: not all ranks came within `ATTENDANCE`.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return Ranks()
    rank, size = dist.get_rank(), dist.get_world_size()
    try:
        roll = dist.new_group(backend="gloo", timeout=ATTENDANCE)
        # One that is too late finds the addresses of ranks that have given up; only an answer shows that they are here.
        # (No barrier: under a default group that is bound to a device, it would look for one on the device.)
        Ranks(rank, size, roll).gather(None)
    except (RuntimeError, PeerError) as error:
        raise PeerError(
            f"rank {rank}: expected all {size} ranks to attach alpha-Hill, some did not come within {ATTENDANCE}. "
            f"Attach the callback, or call Monitor.log, on every rank. ({error})"
        ) from error
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    dist.destroy_process_group(roll)  # once the other group stands, nobody reads from this one
    return Ranks(rank, size, group)
