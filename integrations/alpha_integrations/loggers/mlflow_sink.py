"""MLflow: values as metrics, charts as images by step, tables as artifacts."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from alpha_callbacks.foreign_text import safe_file_name, visible
from alpha_callbacks.sinks.alert import AlertLine
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_integrations.loggers.offers import imported, is_a
from alpha_integrations.loggers.tracker_sink import tracker_sinks


def find_mlflow(host: Host, *, asked: bool) -> list[Sink]:
    """Return a sink per MLflow logger, callback or run among the offers, else one for the active run.

    Raises:
        OptionError: asked for, and there is no run.
    """
    offers = [offer for offer in host.offers if is_a(offer, "MLFlowLogger", "MLflowCallback", "ActiveRun")]
    found = {id(offer): (offer, partial(_run_of, offer)) for offer in offers}
    return tracker_sinks(host, "MLflow", "mlflow", found, _active, asked=asked)


class MlflowRun:
    """A run, written through a client: it needs not be the active one, nor be running.

    Args:
        client: an `MlflowClient`.
        run_id: of the run.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def values(self, values: Mapping[str, float], step: int, epoch: float | None) -> None:
        """Log metrics, all with one time."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log an image, which MLflow shows with a slider over steps."""
        self._client.log_image(self._run_id, pixels, key=name, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a CSV file per state.

        Not `log_table`: it names every table in one tag, which is full after some 120, and to append to a table it
        reads and writes all earlier rows.
        """
        self._client.log_text(self._run_id, csv_text([columns, *rows]), f"{name}_step_{step:08d}.csv")

    def alert(self, line: AlertLine, step: int) -> None:
        """Log a text, and a tag with the newest one: MLflow has no alerts."""
        text = visible(f"Step {step}: {line.text}")
        self._client.set_tag(self._run_id, "alpha_hill.alert", text)
        name = safe_file_name(line.rule)[:80]
        self._client.log_text(self._run_id, text, f"alpha_hill/alerts/step_{step:08d}_{name}.txt")


def _run_of(offer: Any) -> MlflowRun | None:
    if is_a(offer, "MLFlowLogger"):  # of Lightning; the first starts the run, where that has not happened
        return MlflowRun(offer.experiment, offer.run_id)
    if is_a(offer, "ActiveRun"):
        return MlflowRun(imported("mlflow").MlflowClient(), offer.info.run_id)
    return _active()  # of transformers, which starts the run when training begins


def _active() -> MlflowRun | None:
    mlflow = imported("mlflow")
    run = mlflow.active_run() if mlflow is not None else None
    return MlflowRun(mlflow.MlflowClient(), run.info.run_id) if run is not None else None
