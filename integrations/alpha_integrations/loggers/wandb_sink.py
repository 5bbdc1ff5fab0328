"""Snapshots to Weights & Biases, into the run that the user or the training framework has started."""

import importlib.util
import logging
import re
import sys
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.results_csv import RESULTS, SUMMARY
from alpha_integrations.loggers.wandb_rows import COLUMNS, MAX_TABLE_ROWS, layer_scalars, table_rows

STEP = "alpha_hill/step"

_log = logging.getLogger(__name__)


def find_wandb(host: Host, *, asked: bool) -> list[Sink]:
    """Return one sink a W&B run among the offers, else one for the run that is active in this process.

    Never starts a run of its own: that makes a second run, or one per rank.

    Raises:
        OptionError: asked for, and there is no run.
        MissingExtraError: asked for, and wandb is not installed.
    """
    sinks: list[WandbSink] = []
    for offer in host.offers:
        if _is_a(offer, "WandbLogger"):  # of lightning or pytorch_lightning
            run = offer.experiment
        elif all(hasattr(type(offer), name) for name in ("define_metric", "log", "log_artifact")):
            run = offer
        elif _is_a(offer, "WandbCallback"):  # of transformers, which starts the run only when training begins
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

    A snapshot is one row of the run's history. It carries the step under our key and under the framework's; `step=` is
    never passed, for W&B drops a row whose step is below one already logged.

    | key | meaning, unit | when |
    |---|---|---|
    | `alpha_hill/step` | x-axis of all that follows, optimizer steps | always |
    | `<host.step_key>` | the same under the framework's name, which its x-axis needs | `host.step_key` is not empty |
    | `alpha_hill/epoch` | as the framework counts | there are epochs |
    | `alpha_hill/<scalar>` | `Snapshot.scalars`: alphas, number of layers, seconds | it is a number |
    | `alpha_hill/<image>` | `Snapshot.images`: `bars_<category>`, `heat_alpha`, `heat_drift` | `host.images` |
    | `alpha_hill/table` | a row per layer and precision; 10,000 at most, W&B's limit (experts go first) | always |
    | `alpha_hill/dist_<precision>` | histogram of alpha over layers | a layer has a usable alpha |
    | `alpha_hill_layers_<precision>/<layer>` | alpha; beyond 1,000 layers of no experts | `host.per_layer_scalars` |

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

    def log(self, snapshot: Snapshot) -> None:
        """Add one row to the history.

        Raises:
            OptionError: the run that Hugging Face was expected to start is not there.
        """
        if self.run is None:
            self.run = _active_run()
        if self.run is None:
            raise OptionError(
                "WandbSink: expected the W&B run of the Trainer's WandbCallback, got none. Call wandb.init() before "
                "training."
            )
        row = self._summary_row(snapshot)
        layers = layer_scalars(snapshot.table) if self._host.per_layer_scalars else {}
        self._define(row, layers)
        if self._host.step_key:
            row[self._host.step_key] = snapshot.step
        self.run.log({**row, **layers})
        self._last_step = snapshot.step

    def close(self) -> None:
        """Log the CSV files as an artifact if anything was logged since the last time; the run stays open."""
        step, self._last_step = self._last_step, None
        if step is None:
            return
        files = _csv_files(self._host.output_dir, step)
        if not files:
            return
        import wandb

        name = "alpha-hill-" + re.sub(r"[^A-Za-z0-9_.-]", "_", self.run.id)  # an id of the user's may hold more
        artifact = wandb.Artifact(name, "dataset", metadata={"step": step})
        for file in files:
            artifact.add_file(str(file), name=file.name)
        try:
            self.run.log_artifact(artifact)
        except wandb.errors.UsageError as error:  # the owner of the run has finished it before us
            _log.warning("alpha_hill: the CSV files in %s are not in W&B: %s", self._host.output_dir, error)

    def _summary_row(self, snapshot: Snapshot) -> dict[str, Any]:
        import wandb

        table = snapshot.table
        row: dict[str, Any] = {STEP: snapshot.step}
        if snapshot.epoch is not None:
            row["alpha_hill/epoch"] = snapshot.epoch
        row.update({f"alpha_hill/{name}": value for name, value in snapshot.scalars.items()})
        if self._host.images:
            for name, pixels in snapshot.images.items():
                # The slider of the media panel counts log calls, so the step must be in the caption.
                row[f"alpha_hill/{name}"] = wandb.Image(pixels, caption=f"step {snapshot.step}, {snapshot.event}")
        data = table_rows(table)
        if len(data) > MAX_TABLE_ROWS:
            if not self._said_cut:
                _log.warning(
                    "alpha_hill: the W&B table holds %d of %d rows; the CSV has all.", MAX_TABLE_ROWS, len(data)
                )
            self._said_cut = True
        row["alpha_hill/table"] = wandb.Table(columns=list(COLUMNS), data=data[:MAX_TABLE_ROWS])
        for name in table.precisions:
            if alphas := table.alphas(name):
                row[f"alpha_hill/dist_{name}"] = wandb.Histogram(alphas)
        return row

    def _define(self, row: dict[str, Any], layers: dict[str, float]) -> None:
        """Give every new key our x-axis.

        One by one: of two globs that fit a key, W&B 0.31 takes either, so `alpha_hill/*` would lose some keys to the
        `*` of the frameworks. An exact name always wins.
        """
        if not self._defined:
            self.run.define_metric(STEP)
            self._defined.add(STEP)
        for key in row.keys() - self._defined:
            self.run.define_metric(key, step_metric=STEP)
        for key in layers.keys() - self._defined:
            self.run.define_metric(key, step_metric=STEP, hidden=True, summary="none")
        self._defined |= row.keys() | layers.keys()


def _csv_files(folder: Path, step: int) -> list[Path]:
    """Return the history and the two files of the last step, as `CsvSink` writes them; not those of another run."""
    newest = folder / f"step_{step:08d}"
    return [file for file in (folder / HISTORY, newest / RESULTS, newest / SUMMARY) if file.is_file()]


def _is_a(offer: Any, class_name: str) -> bool:
    """Return True if a class of this name is among the bases: the package it comes from need not be imported."""
    return any(base.__name__ == class_name for base in type(offer).__mro__)


def _active_run() -> Any:
    """Return the run of this process, if wandb was imported and has one."""
    return getattr(sys.modules.get("wandb"), "run", None)
