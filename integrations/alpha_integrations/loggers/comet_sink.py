"""Comet: values as metrics, charts as images, tables as CSV assets; online or offline."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from alpha_callbacks.foreign_text import csv_cell, visible
from alpha_callbacks.sinks.alert import AlertLine
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_integrations.loggers.offers import imported, is_a
from alpha_integrations.loggers.tracker_sink import tracker_sinks


def find_comet(host: Host, *, asked: bool) -> list[Sink]:
    """Return a sink per Comet logger, callback or experiment among the offers, else one for the running experiment.

    Raises:
        OptionError: asked for, and there is no experiment.
    """
    known = ("CometLogger", "CometCallback", "CometExperiment", "BaseExperiment")
    offers = [offer for offer in host.offers if is_a(offer, *known)]
    found = {id(offer): (offer, partial(_experiment_of, offer)) for offer in offers}
    return tracker_sinks(host, "Comet", "comet_ml", found, _running, asked=asked)


class CometRun:
    """An experiment of Comet.

    Args:
        experiment: what `comet_ml.start` returns.
    """

    def __init__(self, experiment: Any) -> None:
        self._experiment = experiment

    def values(self, values: Mapping[str, float], step: int, epoch: float | None) -> None:
        """Log metrics; Comet's epochs are whole."""
        self._experiment.log_metrics(dict(values), step=step, epoch=None if epoch is None else int(epoch))

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log an image; not the array itself, whose values Comet would stretch over their range."""
        from PIL import Image

        self._experiment.log_image(Image.fromarray(pixels), name=name, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a CSV file, one per state."""
        cells = [[csv_cell(each) if isinstance(each, str) else each for each in row] for row in rows]
        self._experiment.log_table(f"{name}_step_{step:08d}.csv", cells, headers=list(columns))

    def alert(self, line: AlertLine, step: int) -> None:
        """Log a text, and have a mail sent where the experiment is online."""
        text = visible(f"Step {step}: {line.text}")
        self._experiment.log_text(text, step=step, metadata={"rule": line.rule})
        self._experiment.send_notification(f"alpha-Hill: {line.rule}", status=text)


def _experiment_of(offer: Any) -> CometRun | None:
    if is_a(offer, "CometLogger"):  # of Lightning
        return CometRun(offer.experiment)
    return _running() if is_a(offer, "CometCallback") else CometRun(offer)


def _running() -> CometRun | None:
    comet = imported("comet_ml")
    experiment = comet.get_running_experiment() if comet is not None else None
    return CometRun(experiment) if experiment is not None else None
