"""Progress on stderr while a command works."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.foreign_text import visible
from alpha_callbacks.scanning.observer import Observer

if TYPE_CHECKING:
    from alpha_callbacks.analysis.parallel import Parallelism
    from alpha_callbacks.analysis.result import Result
    from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Origin
    from alpha_callbacks.weights.weight import Weight

_PLAIN_INTERVAL = 15.0  # seconds between lines where stderr is no terminal


class ScanProgress(Observer):
    """Progress of a scan. Time left comes from the predicted cost of the remaining layers, not from their number."""

    def __init__(self, *, hidden: bool = False) -> None:
        """Show nothing if hidden; ranks other than the first are always hidden."""
        self._err = console(stderr=True, quiet=hidden or os.environ.get("RANK", "0") != "0", wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            _note(overflow="ellipsis", no_wrap=True),
            console=self._err,
        )
        self._task: TaskID | None = None
        self._origin: Origin | None = None
        self._costs: dict[str, float] = {}
        self._done = 0
        self._spoke = time.monotonic()

    def __enter__(self) -> ScanProgress:
        """Return itself; the display starts with the first bar, so that an error before it stands alone."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display and restore the terminal. Ctrl-C ends the process: a solve cannot be interrupted."""
        if self._task is not None:
            self._progress.stop()
        if kind is KeyboardInterrupt:
            self._err.print("Interrupted. Finished layers are kept; run the same command again to continue.")
            os._exit(130)

    def opened(self, checkpoint: Checkpoint, todo: Sequence[Weight], kept: int, parallelism: Parallelism) -> None:
        """Say what will be done."""
        from alpha_callbacks.analysis.parallel import predicted_cost

        self._costs = {weight.layer_name: predicted_cost(weight) for weight in todo}
        again = f", {kept} kept from an earlier run" if kept else ""
        self._err.print(
            f"[bold]{escape(_label(checkpoint))}[/bold]: {len(todo)} matrices to analyse, "
            f"{sum(w.numel for w in todo) / 1e6:,.1f} M weights{again}; "
            f"{parallelism.workers} at a time, {parallelism.threads} thread{'s' * (parallelism.threads > 1)} each.",
            soft_wrap=True,
        )
        for note in checkpoint.notes:
            self._err.print(f"[yellow]note: {escape(note)}[/yellow]", soft_wrap=True)
        total = sum(self._costs.values())
        self._progress.start()
        self._task = self._progress.add_task("Analysing", total=total, count=f"0/{len(todo)}", note="")

    def fetching(self, origin: Origin, size: int) -> None:
        """Say how much will be read over the network, and of which commit."""
        self._origin = origin
        of = f" of commit {escape(origin.commit[:12])}" if origin.commit else ""
        self._err.print(
            f"About {_bytes(size)}{of} will be read over the network; nothing of it is kept on disk.", soft_wrap=True
        )

    def finished(self, result: Result) -> None:
        """Advance by the cost of the layer."""
        assert self._task is not None
        self._done += 1
        note = f"{visible(result.layer_name)} {result.seconds:.1f} s"
        if self._origin is not None:
            note = f"{_bytes(self._origin.traffic.received)} read, {_bytes(self._origin.traffic.rate)}/s; {note}"
        count = f"{self._done}/{len(self._costs)}"
        self._progress.update(self._task, advance=self._costs[result.layer_name], count=count, note=note)
        self._plainly(f"{count} {note}")

    def drawing(self, done: int, total: int) -> None:
        """Advance the second bar."""
        if done <= 1 or self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("Drawing", total=total, count="", note="")
        self._progress.update(self._task, completed=done, count=f"{done}/{total}")

    def _plainly(self, line: str) -> None:
        """Print a line now and then if stderr is no terminal, where no bar can be shown."""
        if not self._err.is_terminal and time.monotonic() - self._spoke > _PLAIN_INTERVAL:
            self._spoke = time.monotonic()
            self._err.print(line, markup=False, soft_wrap=True)


class StepProgress:
    """A progress bar for work in equal steps; it is called with (done, total, note)."""

    def __init__(self, title: str, *, hidden: bool = False) -> None:
        self._console = console(stderr=True, quiet=hidden, wrap=True)
        columns = (BarColumn(bar_width=20), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
        self._progress = Progress(
            TextColumn("{task.description}"), *columns, TimeRemainingColumn(), _note(), console=self._console
        )
        self._task = self._progress.add_task(title, total=None, note="")

    def __enter__(self) -> StepProgress:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the terminal."""
        self._progress.stop()

    def __call__(self, done: int, total: int, note: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total, note=visible(note))


def _note(**column: Any) -> TextColumn:
    return TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=Column(**column))


def _label(checkpoint: Checkpoint) -> str:
    return "the embedded tiny Llama" if checkpoint.source == str(EMBEDDED) else checkpoint.source


def _bytes(count: float) -> str:
    return next(
        f"{count / unit:,.1f} {name}"
        for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
        if count >= unit or unit == 1e3
    )
