"""Several processes that work on one model: which layers each takes, and how the results come together."""

import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from alpha_callbacks.analysis.parallel import predicted_cost
from alpha_callbacks.errors import OptionError, PeerError
from alpha_callbacks.utils.whole_numbers import is_index
from alpha_callbacks.weights.weight import Weight

_T = TypeVar("_T")

ATTENDANCE = timedelta(minutes=5)  # for all ranks to join the first time; below the timeouts of training groups
_PATIENCE = timedelta(days=7)  # a dead rank breaks its connections or is noticed by torchrun; a slow one is not dead
# Gloo's thread drops the tensors of an exchange a moment after the answer is here, and needs Python's lock to do so. A
# process that ends just then aborts with "terminate called without an active exception", exit code -6 (torch 2.13).
_LET_GO = 0.001


def share(weights: Sequence[Weight], index: int, count: int) -> list[Weight]:
    """Return the weights that one of `count` processes takes: largest first, each goes to the least loaded process.

    Args:
        weights: all of them, in the same order in each process.
        index: the process, from 0.
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
    """One job of an array of jobs that cannot talk to one another.

    Attributes:
        index: from 1 to count.
        count: number of jobs.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "ScanShare":
        """Return the share that "i/n" names.

        Raises:
            OptionError: not of that form, or i outside 1..n.
        """
        left, slash, right = text.partition("/")
        if not (slash and is_index(left) and is_index(right) and 1 <= int(left) <= int(right)):
            raise OptionError(f"shard: expected i/n with 1 <= i <= n, got {text!r}. For example: 2/8.")
        return cls(int(left), int(right))


class Ranks:
    """Processes that work on the same model; a single one needs no torch.distributed.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        left: True after `leave`.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        """Take the rank, the number of processes, and the process group (None: the default one)."""
        self.rank, self.size, self._group = rank, size, group
        self.left = False

    def from_first(self, value: Any) -> Any:
        """Return the value that rank 0 holds. Collective."""
        return self.gather(value)[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank. Collective.

        Raises:
            PeerError: the connection to another rank broke.
        """
        if self.size == 1:
            return [value]
        if self.left:
            raise PeerError(f"rank {self.rank}: this rank has left the others")
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, value, group=self._group)
        except RuntimeError as error:  # gloo's; it comes at once when the process at the other end is gone
            raise PeerError(
                f"rank {self.rank}: expected an answer from every rank, but the connection to one is lost. "
                "Look for the first error in the output of the other ranks; without one, it had fewer states. "
                f"({error})"
            ) from error
        time.sleep(_LET_GO)
        return values

    def leave(self) -> None:
        """Close the connections to the others: who still expects an answer from here gets an error at once.

        Not collective; may be called twice. The default group is not touched.
        """
        group, self._group = self._group, None
        self.left = True
        if group is not None:
            import torch.distributed as dist

            with suppress(AssertionError, ValueError):  # the training has closed all of its groups before
                dist.destroy_process_group(group)

    def expect_same(self, facts: Mapping[str, object], what_to_do: str) -> None:
        """Raise the same error on every rank if a fact differs between them. Collective.

        Args:
            facts: what is called how on this rank; values are compared by their repr.
            what_to_do: a sentence for the message.

        Raises:
            PeerError: names the first rank and fact that differ from those of rank 0.
        """
        first, *others = self.gather({name: repr(value) for name, value in facts.items()})
        for rank, other in enumerate(others, start=1):
            for name in first:
                if other.get(name) != first[name]:
                    raise PeerError(
                        f"rank {rank}: expected {name}={first[name]}, as on rank 0, got {other.get(name)}. {what_to_do}"
                    )

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
            result = pickle.dumps(task())  # not inside the exchange: if it failed there, the others would wait
        except Exception as error:
            failure = error
        try:
            outcomes = self.gather((result, failure and _type_and_text(failure)))
            if failure is not None:
                raise failure
        finally:
            del failure  # its traceback leads to this frame: a cycle would keep all that the task held
        for rank, (_, problem) in enumerate(outcomes):
            if problem is not None:
                raise PeerError(f"rank {rank}: {problem}")
        return [pickle.loads(result) for result, _ in outcomes]


def _type_and_text(error: Exception) -> str:
    text = error_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def error_text(error: Exception) -> str:
    """Return the text of an error, empty where its __str__ fails: other ranks must hear of it all the same."""
    try:
        return str(error)
    except Exception:
        return ""


class Torchrun(Ranks, AbstractContextManager["Torchrun"]):
    """The processes that torchrun started, joined for the time of a `with` block."""

    def __init__(self) -> None:
        """Read torchrun's environment."""
        super().__init__(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def __enter__(self) -> "Torchrun":
        """Join the group (gloo, because results are small and live on the CPU)."""
        if self.size > 1:
            import torch.distributed as dist

            dist.init_process_group("gloo", timeout=_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the group, but not after an error: torchrun tells the other ranks, and to wait for them would hang."""
        if self.size > 1 and error is None:
            import torch.distributed as dist

            dist.destroy_process_group()


def training_ranks() -> Ranks:
    """Return the processes of the training run that this one is part of, joined in a separate group. Collective.

    The group is gloo, so that results never queue behind NCCL's kernels and NCCL's watchdog sees no wait. It is
    patient: it waits for a slow rank; a rank that dies breaks its connections, which ends the wait at once.

    Raises:
        PeerError: not all ranks joined within `ATTENDANCE`.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return Ranks()
    rank, size = dist.get_rank(), dist.get_world_size()
    try:
        roll = dist.new_group(backend="gloo", timeout=ATTENDANCE)
        # A rank that is too late finds the addresses of ranks that have given up; only an answer shows that they are
        # here. (No barrier: under a default group that is bound to a device, it would use that device.)
        Ranks(rank, size, roll).gather(None)
    except (RuntimeError, PeerError) as error:
        raise PeerError(
            f"rank {rank}: expected all {size} ranks to attach alpha-Hill, some did not join within {ATTENDANCE}. "
            f"Attach the callback, or call Monitor.log, on every rank. ({error})"
        ) from error
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    dist.destroy_process_group(roll)  # all ranks are in the other group, so nobody reads from this one
    return Ranks(rank, size, group)
