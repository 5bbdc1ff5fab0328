"""Watches a model in training, whoever runs the loop."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Literal

from torch import nn

from alpha_callbacks.analysis.processes import training_ranks
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import Host, Sink, check_sinks, open_sinks
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.measurer import Measurer
from alpha_callbacks.training.session import Session
from alpha_callbacks.utils.atomic_files import make_folder
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight


class Monitor(AbstractContextManager["Monitor"]):
    """Computes the alphas of a model when told to, and sends them to sinks; the core of both callbacks.

    Weights are only read. Layers whose bits have not changed since they were last analysed (a frozen base under LoRA)
    are not analysed again. In a distributed run every rank must call it: the layers are shared among the ranks,
    sharded parameters are gathered one at a time, and the first rank writes.

    Args:
        options: what to compute.
        output_dir: folder for CSV files and for writers of our own.
        sinks: "auto", or a list of names ("csv", "tensorboard", "wandb"), `Sink` objects, SummaryWriters, W&B runs.
        per_layer_scalars: log a scalar per layer and precision too.
        images: log charts too.
        background: analyse a copy on the CPU while training goes on. A state that comes due while the last one is still
            being analysed is left out and counted; the last state of a run never is.
        max_seconds: begin no further layer after this time; those left out are rows "skipped", and come first next.
        threads: CPU threads; default all while training waits, one in the background.
        on_error: "warn": an error of ours is one warning, and training goes on; "raise": it is raised.

    Raises:
        OptionError: an option that cannot be used.

    Examples:
        >>> from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
        >>> model, memory = nn.Sequential(nn.Linear(64, 64)), MemorySink()
        >>> with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=[memory]) as monitor:
        ...     snapshot = monitor.log(model, step=0)
        >>> [row.layer_name for row in memory.snapshots[0].table]
        ['0']
    """

    def __init__(
        self,
        options: AnalysisOptions | None = None,
        *,
        output_dir: str | Path = "alpha_hill",
        sinks: str | Sequence[Any] = "auto",
        per_layer_scalars: bool = True,
        images: bool = True,
        background: bool = False,
        max_seconds: float | None = None,
        threads: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        if on_error not in ("warn", "raise"):
            raise OptionError(f"on_error: expected warn or raise, got {on_error!r}.")
        if max_seconds is not None and not (_is_number(max_seconds, float | int) and max_seconds > 0):
            raise OptionError(f"max_seconds: expected a positive number, got {max_seconds!r}.")
        if threads is not None and not (_is_number(threads, int) and threads >= 1):
            raise OptionError(f"threads: expected a whole number from 1, got {threads!r}.")
        check_sinks(sinks)
        self.options = options or AnalysisOptions()
        self.output_dir = Path(output_dir)
        self._wanted, self._per_layer_scalars, self._images = sinks, per_layer_scalars, images
        self._background, self._max_seconds, self._strict = background, max_seconds, on_error == "raise"
        self._threads = threads or (1 if background else None)
        self._session: Session | None = None

    @property
    def last(self) -> Snapshot | None:
        """The newest snapshot of the run, on every rank; None before the first."""
        return self._session.last if self._session else None

    @property
    def newest(self) -> int | None:
        """Step of the newest state of the run that was taken to be analysed; None before the first."""
        return self._session.newest if self._session else None

    @property
    def dropped(self) -> int:
        """States of the run that were left out since the worker was busy."""
        return self._session.dropped if self._session else 0

    @property
    def running(self) -> bool:
        """True between `open` and `close`."""
        return self._session is not None and not self._session.closed

    @property
    def finds_sinks(self) -> bool:
        """True with sinks="auto"."""
        return self._wanted == "auto"

    def open(
        self,
        *,
        output_dir: str | Path | None = None,
        offers: Sequence[Any] = (),
        step_key: str = "",
        others: Callable[[Sequence[Sink]], Sequence[Sink]] = lambda found: (),
    ) -> None:
        """Start a run: join the ranks, make the folder, find the sinks. `log` does it where nobody has. Collective.

        Args:
            output_dir: in place of that of the constructor.
            offers: loggers or callbacks of the framework that sinks may write through.
            step_key: of the framework, for W&B.
            others: given the sinks that were found, returns further ones.

        Raises:
            PeerError: not on all ranks.
            OptionError: the folder cannot be made, or a sink has nowhere to write.
            MissingExtraError: a sink that was asked for needs an optional package.
        """
        self.close()
        self.output_dir = Path(output_dir or self.output_dir)
        ranks = training_ranks()
        host = Host(self.output_dir, tuple(offers), step_key, self._per_layer_scalars, self._images)

        def sinks() -> list[Sink] | None:
            if ranks.rank != 0:
                return None
            make_folder(self.output_dir)
            found = open_sinks(self._wanted, host)
            return [*found, *others(found)]

        found: list[Sink] = []
        ranks.agree(lambda: found.extend(sinks() or ()))
        measurer = Measurer(self.options, ranks, threads=self._threads, max_seconds=self._max_seconds)
        self._session = Session(
            measurer,
            ranks,
            training_ranks() if self._background else None,
            found,
            solver=self.options.solver,
            strict=self._strict,
        )

    def log(
        self, model: nn.Module, step: int, *, epoch: float | None = None, event: Event = "manual"
    ) -> Snapshot | None:
        """Compute the alphas of a model as it is now, and send them to the sinks. Collective.

        Args:
            model: any module, wrapped (DDP, FSDP, torch.compile, PEFT) or not.
            step: optimizer steps so far; grows from call to call.
            epoch: for the records.
            event: for the records; "end" waits for the worker.

        Returns:
            The snapshot; None where it comes later (`background`), was dropped, or failed with on_error="warn".

        Raises:
            OptionError: model is no module.
            MonitorError: at the first call, a model without weights to analyse.
            AlphaCallbacksError: at the first call, what `open` raises; with on_error="raise", all that goes wrong.
        """
        if not isinstance(model, nn.Module):
            raise OptionError(
                f"model: expected an nn.Module, got {type(model).__name__}. For a file use log_checkpoint."
            )
        return self._measure(lambda: module_inventory(model, self.options).weights, step, epoch, event)

    def log_checkpoint(
        self, path: str | Path, step: int, *, epoch: float | None = None, event: Event = "checkpoint"
    ) -> Snapshot | None:
        """Like `log`, of the weights in a checkpoint that is on disk, where every rank can read it. Collective."""
        return self._measure(lambda: open_checkpoint(path).inventory(self.options).weights, step, epoch, event)

    def poll(self, *, wait: bool = False) -> Snapshot | None:
        """Send what the worker has finished to the sinks and return it; costs nothing where there is none.

        Args:
            wait: wait for the worker.
        """
        return self._session.poll(wait=wait) if self._session else None

    def close(self, *, wait: bool = True) -> None:
        """End the run: wait for the worker (or tell it to stop), close the sinks. May be called twice."""
        if self._session is not None and self.running:
            self._session.close(wait=wait)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error, without waiting."""
        self.close(wait=error is None)

    def _measure(
        self, find: Callable[[], Sequence[Weight]], step: int, epoch: float | None, event: Event
    ) -> Snapshot | None:
        if not self.running:
            self.open()
        assert self._session is not None
        return self._session.measure(find, step, epoch, event)


def _is_number(value: object, kinds: type | UnionType) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
