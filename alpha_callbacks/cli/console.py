"""What a person sees while a scan runs, and at its end. Progress goes to stderr, results to stdout."""

import math
import os
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.table import Table as RichTable

from alpha_callbacks.analysis.parallel import Parallelism, Result, predicted_cost
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.scanning.scan import Observer
from alpha_callbacks.scanning.write_results import ScanResult
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.weights.weight import Weight

_PLAIN_INTERVAL = 15.0  # seconds between lines where stderr is no terminal


class Console(Observer):
    """A progress bar, then a report. Time left comes from the predicted cost of what remains, not from its number."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Say nothing but results and errors when quiet; ranks other than the first are always quiet."""
        self._out = RichConsole(highlight=False, soft_wrap=True)
        self._err = RichConsole(stderr=True, highlight=False, quiet=quiet or os.environ.get("RANK", "0") != "0")
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[note]}", table_column=Column(overflow="ellipsis", no_wrap=True)),
            console=self._err,
        )
        self._task: TaskID | None = None
        self._costs: dict[str, float] = {}
        self._done = 0
        self._spoke = time.monotonic()

    def __enter__(self) -> "Console":
        """Start the progress display."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, leaving the terminal as it was. Ctrl-C ends the process: a solve cannot be interrupted."""
        self._progress.stop()
        if kind is KeyboardInterrupt:
            self._err.print("Interrupted. Finished layers are kept; run the same command again to go on.")
            os._exit(130)

    def opened(self, checkpoint: Checkpoint, todo: Sequence[Weight], kept: int, parallelism: Parallelism) -> None:
        """Say what will be done."""
        self._costs = {weight.layer_name: predicted_cost(weight) for weight in todo}
        again = f", {kept} kept from an earlier run" if kept else ""
        self._err.print(
            f"[bold]{escape(_label(checkpoint))}[/bold]: {len(todo)} matrices to analyse, "
            f"{sum(w.numel for w in todo) / 1e6:,.1f} M weights{again}; "
            f"{parallelism.workers} at a time, {parallelism.threads} thread{'s' * (parallelism.threads > 1)} each."
        )
        total = sum(self._costs.values())
        self._task = self._progress.add_task("Analysing", total=total, count=f"0/{len(todo)}", note="")

    def finished(self, result: Result) -> None:
        """Advance by the cost of the layer."""
        assert self._task is not None
        self._done += 1
        note = f"{escape(result.layer_name)} {result.seconds:.1f} s"
        count = f"{self._done}/{len(self._costs)}"
        self._progress.update(self._task, advance=self._costs[result.layer_name], count=count, note=note)
        self._plainly(f"{count} {result.layer_name} {result.seconds:.1f} s")

    def drawing(self, done: int, total: int) -> None:
        """Advance the second bar."""
        if done <= 1 or self._task is None:
            self._task = self._progress.add_task("Drawing", total=total, count="", note="")
        self._progress.update(self._task, completed=done, count=f"{done}/{total}")

    def _plainly(self, line: str) -> None:
        """Print a line now and then where no bar can be shown."""
        if not self._err.is_terminal and time.monotonic() - self._spoke > _PLAIN_INTERVAL:
            self._spoke = time.monotonic()
            self._err.print(escape(line))

    def report(self, result: ScanResult) -> None:
        """Print the summary, the outstanding layers, what was learned, the coverage, and where the files are."""
        table, out = result.table, self._out
        out.print(_summary(table))
        out.print(_outstanding(table))
        for sentence in findings(table):
            out.print(f"• {escape(sentence)}")
        out.print(f"\n{_coverage(result)}")
        out.print(
            f"Results in [bold]{escape(str(result.directory))}[/bold]: "
            f"{'report.html, ' if (result.directory / 'report.html').exists() else ''}"
            f"{results_csv.RESULTS}, {results_csv.SUMMARY}, "
            f"{'plots/, ' if (result.directory / 'plots').is_dir() else ''}"
            f"{'spectra/, ' if (result.directory / 'spectra').is_dir() else ''}run.json"
        )
        if result.uncharted:
            out.print(f"{result.uncharted} expert matrices have no chart of their own; see the category charts.")
        if result.failed:
            names = ", ".join(map(escape, result.failed[:5])) + (", …" if len(result.failed) > 5 else "")
            out.print(f"[yellow]{len(result.failed)} layers have a row without alpha: {names}[/yellow]")


class Steps:
    """A progress bar for work whose steps are alike; calling it says (done, all, what)."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._console = RichConsole(stderr=True, highlight=False, quiet=quiet)
        columns = (BarColumn(bar_width=20), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
        note = TextColumn("[dim]{task.fields[note]}")
        self._progress = Progress(
            TextColumn("{task.description}"), *columns, TimeRemainingColumn(), note, console=self._console
        )
        self._task = self._progress.add_task(title, total=None, note="")

    def __enter__(self) -> "Steps":
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def __call__(self, done: int, total: int, note: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total, note=escape(note))


def _label(checkpoint: Checkpoint) -> str:
    return "the embedded tiny Llama" if checkpoint.source == str(EMBEDDED) else checkpoint.source


def _summary(table: Table) -> RichTable:
    grid = RichTable(
        "precision", *[c for c in ("count", "mean", "median", "min", "max")], title="alpha-Hill", title_justify="left"
    )
    for column in grid.columns[1:]:
        column.justify = "right"
    for s in table.summaries():
        grid.add_row(s.precision, str(s.count), *(f"{value:.6f}" for value in (s.mean, s.median, s.min, s.max)))
    return grid


def _outstanding(table: Table) -> RichTable:
    """Return the heaviest tails for their shape and the largest drifts in one table."""
    grid = RichTable("layer", "shape", "alpha", "/ noise", "why", title="Layers that stand out", title_justify="left")
    grid.columns[0].overflow = "fold"
    for column in grid.columns[2:4]:
        column.justify = "right"
    for layer in table.heaviest():
        grid.add_row(*_cells(layer, table), "heaviest")
    for layer, name, drift in table.most_drifted():
        grid.add_row(*_cells(layer, table), f"{name} {drift:+.1e}")
    return grid


def _cells(layer: LayerRows, table: Table) -> tuple[str, str, str, str]:
    row = layer[table.reference]
    ratio = "" if math.isnan(row.alpha_ratio) else f"{row.alpha_ratio:.2f}"
    return escape(row.layer_name), f"{row.out_features}x{row.in_features}", f"{row.alpha:.4f}", ratio


def _coverage(result: ScanResult) -> str:
    counts = {"analysed": 0, "shared": 0, "skipped": 0, **result.coverage}
    parts = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"Coverage: {parts} (each with its reason in {results_csv.COVERAGE})."
