"""What was measured at one moment of a training run, as sinks receive it."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.lazy import lazy_property

if TYPE_CHECKING:
    import numpy

Event = Literal["start", "checkpoint", "epoch", "step", "end", "manual"]


@dataclass(frozen=True)
class Snapshot:
    """The alphas of one state of a model.

    Attributes:
        step: number of optimizer steps so far, as in the checkpoint's name.
        epoch: as the framework counts; None without epochs.
        event: why it was taken.
        table: one row per layer and precision, in module order.
        seconds: wall time of the analysis.
        reused: layers whose bits had not changed since they were last analysed.
        solver: of the options; decides how many digits of an alpha are printed.
        alerts: what the rules of the run have found, new or not; None if it has no rules.
    """

    step: int
    epoch: float | None
    event: Event
    table: Table
    seconds: float
    reused: int = 0
    solver: str = "exact"
    alerts: tuple[Alert, ...] | None = None

    def __repr__(self) -> str:
        """Return one line: a table of a large model would fill screens."""
        means = ", ".join(f"mean_{s.precision}={s.mean:.6g}" for s in self.table.summaries())
        layers = f"{self.analysed_layers} of {len(self.table.main)} layers analysed"
        return f"Snapshot(step={self.step}, event={self.event!r}, {layers}, {means})"

    @lazy_property
    def scalars(self) -> Mapping[str, float]:
        """Summary name -> value: the figures that go to every logger (docs/keys.md says what each one means)."""
        found: dict[str, float] = {}
        for summary in self.table.summaries():
            for name in ("mean", "median", "min"):
                found[f"{name}_{summary.precision}"] = getattr(summary, name)
            if summary.count != self.analysed_layers:
                found[f"analysed_layers_{summary.precision}"] = float(summary.count)
        found["analysed_layers"], found["layers"] = float(self.analysed_layers), float(len(self.table.main))
        found |= self._update_values()
        found["max_abs_drift"] = max(self._measured_drifts(), default=math.nan)
        found["failed_layers"] = float(self.failed_layers)
        if self.alerts is not None:
            found["alerts"] = float(len(self.alerts))
        found["seconds"] = self.seconds
        return {name: value for name, value in found.items() if not math.isnan(value)}

    @property
    def analysed_layers(self) -> int:
        """Number of layers with a usable alpha at the finest precision: those that its mean is of."""
        return len(self.table.alphas(self.table.reference))

    @property
    def failed_layers(self) -> int:
        """Number of layers without a usable alpha at some precision; those left out for lack of time do not count."""
        layers = self.table.main.layers
        return sum(any(row.status not in ("ok", "skipped", "unchanged") for row in layer.rows) for layer in layers)

    @lazy_property
    def images(self) -> "Mapping[str, numpy.ndarray]":
        """Chart name -> uint8 pixels (height, width, 3): bars by category, heat maps; drawn once for all sinks."""
        from alpha_callbacks.plots.cards.draw_cards import draw_cards

        return draw_cards(self.table, title=f"step {self.step}")

    def _update_values(self) -> dict[str, float]:
        """Return what the updates of weights have shown: how many there are, and medians over them."""
        rows = [layer[self.table.reference] for layer in self.table.updates.layers]
        moved = [row for row in rows if row.spectral_norm > 0]
        found = {"updated_layers": float(len(moved))} if rows else {}
        for name in ("alpha", "alpha_ratio", "stable_rank", "relative_size"):
            values = [value for row in moved if not math.isnan(value := getattr(row, name))]
            found |= {f"update_{name}": statistics.median(values)} if values else {}
        return found

    def _measured_drifts(self) -> list[float]:
        table = self.table.main
        drifts = [
            abs(layer.drift(name, table.reference))
            for layer in table.layers
            for name in table.precisions
            if name != table.reference
        ]
        return [drift for drift in drifts if not math.isnan(drift)]
