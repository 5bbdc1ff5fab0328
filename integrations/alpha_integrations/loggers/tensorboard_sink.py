"""TensorBoard: scalars, charts, histograms and a text, into the writer that the training already has."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alpha_callbacks.errors import MissingExtraError
from alpha_callbacks.foreign_text import distinct
from alpha_callbacks.sinks.alert import alert_lines
from alpha_callbacks.sinks.chart_schedule import ChartSchedule
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.weights.layer_names import short_name
from alpha_integrations.loggers.offers import is_a
from alpha_integrations.loggers.tensorboard_text import alerts_text, tails_text

_log = own_logger(__name__)

_KEPT = 20  # states that wait for a place on the disk
_STATISTICS = ("mean_", "median_", "min_")  # of alpha; those of other precisions than the finest are in a second group


def find_tensorboard(host: Host, *, asked: bool) -> list[Sink]:
    """Return a sink for each TensorBoard writer that is offered.

    Known are a SummaryWriter, a Lightning TensorBoardLogger and a Hugging Face TensorBoardCallback.

    Args:
        host: what the training framework offers.
        asked: the user named TensorBoard: without an offer, write to `host.output_dir / "tensorboard"`.

    Raises:
        MissingExtraError: asked, nothing offered, and tensorboard is not installed.
    """
    sinks: list[Sink] = []
    seen: set[int] = set()
    for offer in host.offers:
        if not (_is_writer(offer) or is_a(offer, "TensorBoardCallback") or _is_logger(offer)):
            continue
        keys = {id(offer), id(_writer_of(offer) or offer)}
        if not keys & seen:
            sinks.append(TensorBoardSink(host, offer))
        seen |= keys
    if not sinks and asked:
        _summary_writer()  # a missing package is said now, not after the first hour of training
        sinks.append(TensorBoardSink(host))
    return sinks


class TensorBoardSink:
    """Logs snapshots to a writer of the training's, or to one of its own, at global_step = step of the snapshot.

    The tags are listed in docs/keys.md.

    Updates of weights have keys of their own (docs/keys.md).
    A layer without alpha has no point. Experts have no scalars of their own in models of more than 1,000 layers.

    Attributes:
        adopted: the writer, logger or callback that is written to; None if the sink made its own writer.
    """

    def __init__(self, host: Host, adopted: Any = None) -> None:
        self.adopted = adopted
        self._host = host
        self._writer: Any = None  # the last one seen
        self._waiting: list[Snapshot] = []
        self._lost: list[int] = []  # steps of states that are not there, or not whole
        self._charts = ChartSchedule(host.images)

    def log(self, snapshot: Snapshot) -> None:
        """Write one snapshot and flush; kept for later while the callback that we write to has no writer yet.

        So it is where the disk is full and the writer is our own: after an error of its thread a writer never writes
        again, and the next state opens another.
        """
        self._waiting.append(snapshot)
        unwritten = list(self._waiting)
        try:
            self._write_waiting()
        except OSError:
            self._charts.lost()
            if self.adopted is None:
                self._writer = None  # not closed: that would wait for its thread, which is gone
                self._waiting = unwritten[-_KEPT:]
            self._lost += [each.step for each in unwritten if each not in self._waiting]
            raise

    def _write_waiting(self) -> None:
        current = self._current(self._waiting[0].step)
        if current is not None:
            self._writer = current
        if self._writer is None:
            return
        try:
            while self._waiting:
                self._write(self._waiting.pop(0))  # taken out first: after an error nothing is written twice
            self._writer.flush()
        finally:
            if current is None:  # its owner has closed it and writing opened it again: the sink must close that
                self._writer.close()

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Write one point per value; lost where the callback that we write to has no writer any more."""
        writer = self._current(step)
        if writer is not None:
            self._writer = writer
            for tag, value in {**values, **layers}.items():
                writer.add_scalar(tag, value, step)
            writer.flush()

    def close(self) -> None:
        """Draw the charts of the last state, flush, and close the writer if the sink made it; may be called twice.

        Says again which states are lost.
        """
        unwritten = list(self._waiting) if self.adopted is None else []
        try:
            if unwritten:
                self._write_waiting()
            if self._writer is not None:
                self._finish(self._writer)
        except OSError:  # said when it came first
            self._lost += [snapshot.step for snapshot in unwritten]
            if self.adopted is None:
                self._writer, self._waiting = None, []
        if self._lost:
            steps = ", ".join(str(step) for step in dict.fromkeys(self._lost))
            _log.warning("alpha-Hill: TensorBoard lacks states, its writer stopped with an error: step %s.", steps)
        self._lost = []

    def _finish(self, writer: Any) -> None:
        left_open = self.adopted is None
        if (last := self._charts.left()) is not None:
            self._draw(last)
            left_open = left_open or _writer_of(self.adopted) is None  # as in `log`
        writer.flush()
        if left_open:
            writer.close()
            self._writer = None

    def _current(self, first: int) -> Any:
        if self.adopted is not None:
            return _writer_of(self.adopted)
        # A folder of its own: of two writers in one folder, TensorBoard's slow loader drops one's later points.
        # purge_step: a run that resumes, or starts again, hides what an earlier one wrote of these steps.
        folder = str(Path(self._host.output_dir) / "tensorboard")
        return self._writer or _summary_writer()(folder, purge_step=first)

    def _write(self, snapshot: Snapshot) -> None:
        writer, table, step = self._writer, snapshot.shown, snapshot.step
        for tag, value in _summary_tags(snapshot.cards, table).items():
            writer.add_scalar(tag, value, step)
        writer.add_text("alpha_hill/tails", tails_text(snapshot) or "No layer to show.", step)
        if lines := alert_lines(snapshot.alerts or ()):
            writer.add_text("alpha_hill/alerts", alerts_text(lines), step)
        for precision, name in distinct(table.precisions).items():
            alphas = np.array([alpha for alpha in table.alphas(precision) if math.isfinite(alpha)])
            if len(alphas):
                # Not the writer's own bins: they are a tenth of a value wide, wider than what tells layers apart.
                writer.add_histogram(f"alpha_hill_dist/{name}", alphas, step, bins=30)
        if self._host.per_layer_scalars:
            for tag, alpha in _layer_tags(table):
                writer.add_scalar(tag, alpha, step)
        if self._charts.due(snapshot):
            self._draw(snapshot)  # last: an error in it costs no number

    def _draw(self, snapshot: Snapshot) -> None:
        try:
            images = snapshot.images
        except Exception:
            self._charts.lost()
            raise
        for name, key in distinct(images).items():
            group, _, what = key.partition("_")
            self._writer.add_image(f"alpha_hill_{group}/{what}", images[name], snapshot.step, dataformats="HWC")


def _summary_tags(scalars: Mapping[str, float], table: Table) -> dict[str, float]:
    """Return the tags of the summary: one page of 12 cards in the first group, the rest in a second one."""
    coarser = [name for name in table.precisions if name != table.reference]
    others = {statistic + name for statistic in _STATISTICS for name in coarser}
    tags = {}
    for name, key in distinct(scalars).items():
        more = name in others or name == "layers" or name.startswith(("analysed_layers_", "update"))
        more = more or name.endswith("_median")  # of another estimator
        tags[f"{'alpha_hill_more' if more else 'alpha_hill'}/{key}"] = scalars[name]
    return tags


def _layer_tags(table: Table) -> Iterator[tuple[str, float]]:
    """Yield tag and alpha of each layer and precision: a group of cards a block."""
    from alpha_callbacks.plots.draw_scan import with_own_chart

    layers = with_own_chart(table)
    width = len(str(max((layer.first.block or 0 for layer in layers), default=0)))
    taken = Counter((layer.first.block, short_name(layer.first.layer_name)) for layer in layers)
    shown = {}
    for layer in layers:
        name, block = layer.first.layer_name, layer.first.block
        short = short_name(name)
        shown[name] = name if block is None or taken[block, short] > 1 else short  # encoder and decoder have a block 0
    tags, precisions = distinct(shown.values()), distinct(table.precisions)
    for layer in layers:
        first = layer.first
        name = tags[shown[first.layer_name]]
        group = "outside" if first.block is None else f"{first.block:0{width}d}"
        for row in layer.rows:
            if row.ok and math.isfinite(row.alpha):
                yield f"alpha_hill.{group}/{name}.{precisions[row.precision]}", row.alpha
        for what in ("relative_size", "stable_rank") if first.is_update else ():
            if math.isfinite(value := getattr(layer[table.reference], what)):
                yield f"alpha_hill.{group}/{name}.{what}", value


def _writer_of(offer: Any) -> Any:
    """Return the writer of an offer now; None while a Hugging Face callback has none."""
    if _is_writer(offer):
        return offer
    return offer.experiment if is_a(offer, "TensorBoardLogger") else getattr(offer, "tb_writer", None)


def _is_writer(offer: Any) -> bool:
    # Of the class: Lightning's DummyLogger and dummy writers answer to any attribute.
    return all(callable(getattr(type(offer), name, None)) for name in ("add_scalar", "add_image"))


def _is_logger(offer: Any) -> bool:
    """Return True for a Lightning logger with a writer; on ranks after the first it has a dummy."""
    return is_a(offer, "TensorBoardLogger") and _is_writer(offer.experiment)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError('sinks: "tensorboard"', "tensorboard") from error
    return SummaryWriter
