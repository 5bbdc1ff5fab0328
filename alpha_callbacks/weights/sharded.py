"""Parameters that are spread over ranks: how to see the whole of one, and what this rank holds of it.

FSDP2 and tensor parallelism (DTensor), FSDP1 and DeepSpeed ZeRO-3. To see a whole parameter is a collective operation:
all ranks enter `whole()` for the same parameters in the same order, whichever rank needs the values.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import MonitorError


class ShardedParameter(Protocol):
    """One parameter (FSDP1: the parameters of one unit) that no rank holds whole."""

    def whole(self) -> AbstractContextManager[None]:
        """Return a context in which the parameter's rows can be read. Collective."""

    def local(self) -> list[Tensor]:
        """Return what this rank holds, to see whether it has changed. Not inside `whole`.

        Raises:
            Exception: that cannot be seen.
        """


@dataclass(frozen=True)
class Together:
    """Several parameters that one weight is computed from.

    Attributes:
        parts: each once, in the same order on every rank.
    """

    parts: tuple[ShardedParameter, ...]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather all of them for the time of the context."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.whole())
            yield

    def local(self) -> list[Tensor]:
        """Return what this rank holds of them."""
        return [tensor for part in self.parts for tensor in part.local()]


def joined(*parameters: ShardedParameter | None) -> ShardedParameter | None:
    """Return what gathers all of these, None where none is sharded."""
    flat = [each for p in parameters for each in (p.parts if isinstance(p, Together) else (p,)) if each is not None]
    parts = tuple({id(part): part for part in flat}.values())
    return Together(parts) if len(parts) > 1 else next(iter(parts), None)


def identity(sharded: ShardedParameter | None) -> tuple[int, ...]:
    """Return what is the same for weights that can be read in one context."""
    return tuple(map(id, sharded.parts)) if isinstance(sharded, Together) else (id(sharded),)


def is_dtensor(tensor: Tensor) -> bool:
    """Return True for a tensor of FSDP2 or tensor parallelism."""
    module = sys.modules.get("torch.distributed.tensor")  # there is no DTensor where it was never imported
    return module is not None and isinstance(tensor, module.DTensor)


def is_zero3(tensor: Tensor) -> bool:
    """Return True for a parameter that DeepSpeed ZeRO-3 has partitioned."""
    return hasattr(tensor, "ds_id") and hasattr(tensor, "ds_shape")


def fsdp1_units(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (path, unit) of every FullyShardedDataParallel in a model."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return []
    return [(name, child) for name, child in module.named_modules() if isinstance(child, fsdp.FullyShardedDataParallel)]


def is_fsdp1(module: object) -> bool:
    """Return True for a FullyShardedDataParallel module."""
    return isinstance(module, nn.Module) and any(name == "" for name, _ in fsdp1_units(module))


def reshard(module: nn.Module) -> None:
    """Put FSDP2 modules back into their sharded state.

    After a forward pass without a backward pass (an evaluation) some still show gathered parameters: plain tensors, and
    copies in the compute precision under a MixedPrecisionPolicy. The next forward pass gathers them again.
    """
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    for child in module.modules() if fsdp else ():
        if isinstance(child, fsdp.FSDPModule):
            child.reshard()


class DTensorParameter:
    """A DTensor, gathered by `full_tensor`."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter
        self._full: Tensor | None = None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather the tensor for the time of the context."""
        with torch.no_grad():
            self._full = self._parameter.detach().full_tensor()
        try:
            yield
        finally:
            self._full = None

    def local(self) -> list[Tensor]:
        """Return the local shard."""
        return [self._parameter.detach().to_local()]

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows of the whole tensor, inside `whole`."""
        return require_whole(self._full)[start:stop]


class Zero3Parameter:
    """A partitioned parameter of DeepSpeed, gathered by `GatheredParameters`."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter
        self._open = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather the parameter for the time of the context, for reading only."""
        import deepspeed  # there: it has partitioned the parameter

        with deepspeed.zero.GatheredParameters([self._parameter], modifier_rank=None):
            self._open = True
            try:
                yield
            finally:
                self._open = False

    def local(self) -> list[Tensor]:
        """Return the partition.

        Raises:
            MonitorError: it is swapped out.
        """
        partition = self._parameter.ds_tensor
        if getattr(getattr(partition, "status", None), "name", "AVAILABLE") != "AVAILABLE":
            raise MonitorError("expected a partition in memory, it is on disk")
        return [partition.detach()]

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows of the whole parameter, inside `whole`."""
        tensor: Tensor = require_whole(self._parameter.detach() if self._open else None)
        return tensor[start:stop]


class Fsdp1Unit:
    """The parameters of one FSDP1 unit, summoned together."""

    def __init__(self, unit: nn.Module) -> None:
        self._unit = unit
        self._open = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Summon the unit's own parameters; never offloaded, which breaks later forward passes, nor written back."""
        from torch.distributed.fsdp import FullyShardedDataParallel

        with (
            torch.no_grad(),
            FullyShardedDataParallel.summon_full_params(self._unit, recurse=False, writeback=False),
        ):
            self._open = True
            try:
                yield
            finally:
                self._open = False

    def local(self) -> list[Tensor]:
        """Return the flat shard of the unit; `flat_param` itself may be whole between two passes."""
        return [self._flat()._local_shard.detach()]

    def hold(self, owner: nn.Module, name: str) -> bool:
        """Return True for a parameter of the unit, False for a buffer and for a parameter that FSDP was told to ignore.

        Ignored ones stay whole on every rank, and a change of theirs does not show in the flat shard.
        """
        flat = self._flat()
        infos = (*flat._param_infos, *flat._shared_param_infos) if flat is not None else ()
        return any(info.module is owner and info.param_name == name for info in infos)

    def read(self, tensor_of: Callable[[], Tensor]) -> Callable[[int, int], Tensor]:
        """Return a reader of what `tensor_of` finds, for use inside `whole`."""
        return lambda start, stop: require_whole(tensor_of().detach() if self._open else None)[start:stop]

    def _flat(self) -> Any:
        return getattr(getattr(self._unit, "_handle", None), "flat_param", None)


def require_whole(tensor: Tensor | None) -> Tensor:
    """Return the tensor, or say that it is only there in parts.

    Raises:
        MonitorError: outside `whole`.
    """
    if tensor is None:
        raise MonitorError("expected a whole weight, this rank holds only a shard. Watch it with Monitor on all ranks.")
    return tensor
