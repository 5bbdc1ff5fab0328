"""What was measured at one moment of a training run, as sinks receive it."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.tables.same_bits import without_copies
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.lazy import lazy_property

if TYPE_CHECKING:
    import numpy

Event = Literal["start", "checkpoint", "epoch", "step", "end", "manual"]


@dataclass(frozen=True)
class Earlier:
    """The alphas that a state is compared with: of each layer the last one before it, at the finest precision.

    Attributes:
        step: of the last state.
        alphas: layer name -> alpha.
    """

    step: int
    alphas: Mapping[str, float]


@dataclass(frozen=True)
class Move:
    """How far the alpha of a layer moved since the state before, at the finest precision."""

    layer_name: str
    before: float
    now: float

    @property
    def size(self) -> float:
        """Alpha now − alpha before."""
        return self.now - self.before


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
        solver: of the options.
        alerts: what the rules of the run have found, new or not; None if it has no rules.
        earlier: what was known before it; None in the first state of a run.
    """

    step: int
    epoch: float | None
    event: Event
    table: Table
    seconds: float
    reused: int = 0
    solver: str = "exact"
    alerts: tuple[Alert, ...] | None = None
    earlier: Earlier | None = None

    def __repr__(self) -> str:
        """Return one line: a table of a large model would fill screens."""
        means = ", ".join(f"mean_{s.precision}={s.mean:.6g}" for s in self.table.summaries())
        layers = f"{self.analysed_layers} of {len(self.table.main)} layers analysed"
        return f"Snapshot(step={self.step}, event={self.event!r}, {layers}, {means})"

    @lazy_property
    def scalars(self) -> Mapping[str, float]:
        """Summary name -> value, what says most first (docs/keys.md says what each one means)."""
        reference = self.table.reference
        ratios = [layer[reference].alpha_ratio for layer in self.table.main.layers if layer[reference].ok]
        found: dict[str, float] = {}
        for name in self.low_bit:
            errors = [row.relative_error for row in self.table.main if row.precision == name]
            errors = [error for error in errors if math.isfinite(error)]
            found[f"relative_error_{name}"] = median(errors) if errors else math.nan
        found["median_alpha_ratio"] = median(ratios) if ratios else math.nan
        found["max_abs_move"] = max((abs(move.size) for move in self.moves), default=math.nan)
        for summary in self.table.summaries():
            for name in ("mean", "median", "min"):
                found[f"{name}_{summary.precision}"] = getattr(summary, name)
            if summary.count != self.analysed_layers:
                found[f"analysed_layers_{summary.precision}"] = float(summary.count)
        found["analysed_layers"], found["layers"] = float(self.analysed_layers), float(len(self.table.main))
        found |= self._update_values()
        if tails := self.table.tails():
            found["clear_tails"] = float(tails["clear"])
        for name in self.table.estimators:
            alphas = [layer[reference].alpha_of(name) for layer in self.table.main.layers]
            alphas = [alpha for alpha in alphas if math.isfinite(alpha)]
            found[f"{name}_median"] = median(alphas) if alphas else math.nan
        found["max_abs_drift"] = max(self._measured_drifts(), default=math.nan)
        found["failed_layers"] = float(self.failed_layers)
        if self.alerts is not None:
            found["alerts"] = float(len(self.alerts))
        found["seconds"] = self.seconds
        return {name: value for name, value in found.items() if not math.isnan(value)}

    @lazy_property
    def shown(self) -> Table:
        """The table that cards are made of: without precisions that hold the same bits as a finer one."""
        return without_copies(self.table)

    @property
    def cards(self) -> dict[str, float]:
        """The scalars without those of precisions that are not shown."""
        copies = tuple(f"_{name}" for name in self.table.precisions if name not in self.shown.precisions)
        return {name: value for name, value in self.scalars.items() if not name.endswith(copies or "\n")}

    @property
    def low_bit(self) -> list[str]:
        """The precisions below 16 bits."""
        return [name for name in self.table.precisions if get_precision(name).low_bit]

    @lazy_property
    def moves(self) -> tuple[Move, ...]:
        """How far each layer moved since the state before, the farthest first; those that stayed are left out."""
        before = self.earlier.alphas if self.earlier is not None else {}
        rows = (layer[self.table.reference] for layer in self.table.main.layers)
        found = [
            Move(row.layer_name, before[row.layer_name], row.alpha)
            for row in rows
            if row.ok and row.layer_name in before
        ]
        return tuple(sorted((move for move in found if move.size), key=lambda move: -abs(move.size)))

    def later(self) -> Earlier:
        """Return what the next state is compared with."""
        before = dict(self.earlier.alphas) if self.earlier is not None else {}
        rows = (layer[self.table.reference] for layer in self.table.main.layers)
        return Earlier(self.step, before | {row.layer_name: row.alpha for row in rows if row.ok})

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
