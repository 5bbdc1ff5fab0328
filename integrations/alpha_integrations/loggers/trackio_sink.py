"""Trackio: values, charts, tables and alerts into its local database or Space."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.sinks.alert import AlertLine
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_integrations.loggers.logger_rows import visible_rows
from alpha_integrations.loggers.offers import imported, is_a
from alpha_integrations.loggers.tracker_sink import tracker_sinks


def find_trackio(host: Host, *, asked: bool) -> list[Sink]:
    """Return a sink per Trackio callback or run among the offers, else one for the active run.

    Raises:
        OptionError: asked for, and there is no run.
    """
    offers = [offer for offer in host.offers if is_a(offer, "TrackioCallback") or _is_run(offer)]
    found = {id(offer): (offer, partial(_run_of, offer)) for offer in offers}
    return tracker_sinks(host, "Trackio", "trackio", found, _active, asked=asked)


class TrackioRun:
    """A run of Trackio.

    Args:
        run: what `trackio.init` returns.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    def values(self, values: Mapping[str, float], step: int, epoch: float | None) -> None:
        """Log numbers as one row."""
        self._run.log({**values, **({} if epoch is None else {"alpha_hill/epoch": epoch})}, step=step)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log an image."""
        import trackio

        self._run.log({name: trackio.Image(pixels, caption=f"step {step}")}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table; what is no number stays empty."""
        import trackio

        shown = visible_rows(rows)
        data = [[None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in shown]
        self._run.log({name: trackio.Table(columns=list(columns), data=data)}, step=step)

    def alert(self, line: AlertLine, step: int) -> None:
        """Send an alert."""
        import trackio

        level = trackio.AlertLevel.ERROR if line.stops else trackio.AlertLevel.WARN
        self._run.alert(title=f"alpha-Hill: {line.rule}", text=visible(f"Step {step}: {line.text}"), level=level)


def _is_run(offer: Any) -> bool:
    return is_a(offer, "Run") and type(offer).__module__.partition(".")[0] == "trackio"


def _run_of(offer: Any) -> TrackioRun | None:
    return TrackioRun(offer) if _is_run(offer) else _active()  # the callback starts the run when training begins


def _active() -> TrackioRun | None:
    trackio = imported("trackio")
    run = trackio.context_vars.current_run.get() if trackio is not None else None
    return TrackioRun(run) if run is not None else None
