"""Snapshots to Weights & Biases, into the run that the user or the training framework has started."""

import importlib.util
import math
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.foreign_text import distinct, visible
from alpha_callbacks.sinks.alert import alert_lines
from alpha_callbacks.sinks.chart_schedule import ChartSchedule
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.results_csv import RESULTS, SUMMARY
from alpha_callbacks.utils.own_logger import own_logger
from alpha_integrations.loggers.logger_rows import (
    MAX_TABLE_ROWS,
    MOVE_COLUMNS,
    columns,
    layer_scalars,
    move_rows,
    table_rows,
    visible_rows,
)
from alpha_integrations.loggers.offers import imported, is_a
from alpha_integrations.loggers.wandb_charts import bar_charts

STEP = "alpha_hill/step"
_LONGEST_TITLE = 63  # of an alert

_log = own_logger(__name__)
# Run -> number of the row that holds a snapshot, of whichever sink: the next one would overwrite it.
_TAKEN: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()


def find_wandb(host: Host, *, asked: bool) -> list[Sink]:
    """Return one sink a W&B run among the offers, else one for the run that is active in this process.

    Never starts a run of its own: that makes a second run, or one per rank.

    Raises:
        OptionError: asked for, and there is no run.
        MissingExtraError: asked for, and wandb is not installed.
    """
    sinks: list[WandbSink] = []
    for offer in host.offers:
        if is_a(offer, "WandbLogger"):  # of lightning or pytorch_lightning
            run = offer.experiment
        elif all(hasattr(type(offer), name) for name in ("define_metric", "log", "log_artifact")):
            run = offer
        elif is_a(offer, "WandbCallback"):  # of transformers, which starts the run only when training begins
            run = _active_run()
        else:
            continue
        if not any(sink.run is run for sink in sinks):
            sinks.append(WandbSink(host, run, adopted=offer))
    active = _active_run()
    if not sinks and active is not None:
        sinks.append(WandbSink(host, active))
    if asked and not sinks:
        if importlib.util.find_spec("wandb") is None:
            raise MissingExtraError('sinks: "wandb"', "wandb")
        raise OptionError(
            'sinks: expected an active W&B run for "wandb", got none. Call wandb.init() before training, attach a '
            'WandbLogger (Lightning), or set report_to="wandb" (Hugging Face).'
        )
    return list(sinks)


class WandbSink:
    """Logs to a W&B run that the user or the framework has started and will finish.

    A snapshot carries its step under our key and under the framework's; `step=` is never passed, for W&B drops a row
    whose step is below one already logged. Nor is a row committed that may be the user's: what they log to the same
    step later would be dropped. A snapshot therefore joins the row that is open, and the next one waits until that row
    has been closed by what the user or the framework logs; those that still wait at `close` get rows of their own.

    The keys are listed in docs/keys.md; all have `alpha_hill/step` as their x-axis.

    `<layer>` is the block and the short name, as in `03_self_attn_q_proj`; a row that is not "ok" has none. These keys
    are hidden from automatic panels and from the summary; the table has the real names.

    `close` logs the CSV files once more, as the artifact `alpha-hill-<run id>` of type "dataset".

    Attributes:
        run: the W&B run; None until there is one (Hugging Face starts it when training begins).
        adopted: the object among the host's offers that led to the run; None for the active run of the process.
    """

    def __init__(self, host: Host, run: Any = None, *, adopted: Any = None) -> None:
        self.run = run
        self.adopted = adopted
        self._host = host
        self._defined: set[str] = set()
        self._last_step: int | None = None  # of what `close` has not yet made an artifact of
        self._said_cut = False
        self._waiting: deque[dict[str, Any]] = deque()
        self._said_waiting = False
        self._charts = ChartSchedule(host.images)

    def log(self, snapshot: Snapshot) -> None:
        """Add a snapshot to the history.

        Raises:
            OptionError: the run that Hugging Face was expected to start is not there.
            wandb.errors.UsageError: its owner has finished the run.
        """
        self._find_run()
        layers = layer_scalars(snapshot.shown) if self._host.per_layer_scalars else {}
        row = self._summary_row(snapshot)
        try:
            if self._charts.due(snapshot):
                row |= self._pictures(snapshot)
        except Exception:
            self._charts.lost()
            raise
        finally:  # the numbers arrive without charts too
            self._alert(snapshot)
            self._queue(row, layers, snapshot.step)
            self._last_step = snapshot.step

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Add values to the history; raises what `log` raises."""
        self._find_run()
        self._queue({STEP: step, **values}, layers, step)

    def _find_run(self) -> None:
        if self.run is None:
            self.run = _active_run()
        if self.run is None:
            raise OptionError(
                "WandbSink: expected the W&B run of the Trainer's WandbCallback, got none. Call wandb.init() before "
                "training."
            )
        self.run.log({}, commit=False)  # tells at once whether the run is over; its step would be waited for

    def _queue(self, row: Mapping[str, Any], layers: Mapping[str, float], step: int) -> None:
        """Send a row when the open one holds none from here yet."""
        self._define(row, layers)
        step_keys = {self._host.step_key: step} if self._host.step_key else {}
        self._waiting.append({**row, **step_keys, **layers})
        if self._row_is_free():
            self._join()
        if len(self._waiting) > 1 and not self._said_waiting:
            self._said_waiting = True
            _log.warning(
                "alpha_hill: W&B shows one state per row that is logged to the run, since closing a row could drop "
                "what is logged to it later; the other states follow when the monitor is closed."
            )

    def close(self) -> None:
        """Log the CSV files as an artifact if anything was logged since the last time; the run stays open."""
        step, self._last_step = self._last_step, None
        if step is None and not self._waiting:
            return
        charts: dict[str, Any] = {}
        try:
            if (last := self._charts.left()) is not None:
                charts = {STEP: last.step, **self._pictures(last)}
        finally:  # the states that wait, and the files, arrive without charts too
            self._send_rest(step, charts)

    def _send_rest(self, step: int | None, charts: dict[str, Any]) -> None:
        import wandb

        try:
            if charts:
                self._define(charts, {})
                self._waiting.append(charts)
            self._join_all()
        except wandb.errors.UsageError as error:  # the owner of the run has finished it before us
            states = f"{len(self._waiting)} state{'s' * (len(self._waiting) > 1)} of {self._host.output_dir}"
            _log.warning("alpha_hill: %s did not reach W&B: %s", states, error)
            return
        files = _csv_files(self._host.output_dir, step) if step is not None else []
        if not files:
            return
        name = "alpha-hill-" + re.sub(r"[^A-Za-z0-9_.-]", "_", self.run.id)  # an id of the user's may hold more
        artifact = wandb.Artifact(name, "dataset", metadata={"step": step})
        for file in files:
            artifact.add_file(str(file), name=file.name)
        try:
            self.run.log_artifact(artifact)
        except wandb.errors.UsageError as error:  # as above
            _log.warning("alpha_hill: the CSV files in %s are not in W&B: %s", self._host.output_dir, error)

    def _alert(self, snapshot: Snapshot) -> None:
        """Send one alert per rule that newly holds; W&B mails it or posts it to Slack, as its user has chosen."""
        for line in alert_lines(snapshot.alerts or ()):
            title = f"alpha-Hill: {line.rule}"
            title = title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"
            text = visible(f"Step {snapshot.step}: {line.text}")
            # Without a wait, W&B would drop what a rule finds in another layer less than a minute later.
            self.run.alert(title, text, level="ERROR" if line.stops else "WARN", wait_duration=0.001)

    def _join(self) -> None:
        """Send the snapshot that has waited longest."""
        self.run.log(self._waiting[0], commit=False)
        self._waiting.popleft()  # not before it was sent
        _TAKEN[self.run] = self.run.step

    def _join_all(self) -> None:
        if self._waiting:
            self.run.log({}, commit=False)  # as in `log`
        while self._waiting:
            if not self._row_is_free():
                self.run.log({}, commit=True)
            self._join()

    def _row_is_free(self) -> bool:
        return bool(self.run.step != _TAKEN.get(self.run))

    def _summary_row(self, snapshot: Snapshot) -> dict[str, Any]:
        import wandb

        table = snapshot.table
        row: dict[str, Any] = {STEP: snapshot.step}
        if snapshot.epoch is not None:
            row["alpha_hill/epoch"] = snapshot.epoch
        row.update({f"alpha_hill/{key}": snapshot.cards[name] for name, key in distinct(snapshot.cards).items()})
        if moves := move_rows(snapshot):
            row["alpha_hill/moves"] = wandb.Table(columns=list(MOVE_COLUMNS), data=visible_rows(moves))
        data = table_rows(table, snapshot.step)
        if len(data) > MAX_TABLE_ROWS:
            if not self._said_cut:
                _log.warning(
                    "alpha_hill: the W&B table holds %d of %d rows; the CSV has all.", MAX_TABLE_ROWS, len(data)
                )
            self._said_cut = True
        row["alpha_hill/table"] = wandb.Table(columns=list(columns(table)), data=visible_rows(data[:MAX_TABLE_ROWS]))
        for name, key in distinct(snapshot.shown.precisions).items():
            if alphas := [alpha for alpha in table.alphas(name) if math.isfinite(alpha)]:
                row[f"alpha_hill/dist_{key}"] = wandb.Histogram(alphas)
        return row

    def _pictures(self, snapshot: Snapshot) -> dict[str, Any]:
        import wandb

        # The slider of the media panel counts log calls, so the step must be in the caption.
        caption = f"step {snapshot.step}, {snapshot.event}"
        pictures, keys = snapshot.images, distinct(snapshot.images)
        images = {f"alpha_hill/{keys[name]}": wandb.Image(pixels, caption=caption) for name, pixels in pictures.items()}
        return images | bar_charts(snapshot)

    def _define(self, row: Mapping[str, Any], layers: Mapping[str, float]) -> None:
        """Give every new key our x-axis.

        One by one: of two globs that fit a key, W&B 0.31 takes either, so `alpha_hill/*` would lose some keys to the
        `*` of the frameworks. An exact name always wins.
        """
        import wandb

        if not self._defined:
            self.run.define_metric(STEP)
            self._defined.add(STEP)
        keys = {key for key, value in row.items() if not isinstance(value, wandb.plot.CustomChart)}  # no key of a row
        for key in keys - self._defined:
            self.run.define_metric(key, step_metric=STEP)
        for key in layers.keys() - self._defined:
            self.run.define_metric(key, step_metric=STEP, hidden=True, summary="none")
        self._defined |= keys | layers.keys()


def _csv_files(folder: Path, step: int) -> list[Path]:
    """Return the history and the two files of the last step, as `CsvSink` writes them; not those of another run."""
    newest = folder / f"step_{step:08d}"
    return [file for file in (folder / HISTORY, newest / RESULTS, newest / SUMMARY) if file.is_file()]


def _active_run() -> Any:
    """Return the run of this process, if wandb was imported and has one."""
    return getattr(imported("wandb"), "run", None)
