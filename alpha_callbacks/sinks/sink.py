"""Where snapshots go: TensorBoard, W&B, CSV, ... each a plugin of the group `sinks`, or handed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.logger_sink import LoggerSink, is_logger
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.utils import plugins

AUTO = "auto"


@runtime_checkable
class Sink(Protocol):
    """A destination. Called on the first rank only, in the thread that trains, so it may draw, write and log."""

    def log(self, snapshot: Snapshot) -> None:
        """Write one snapshot. An error becomes a warning; the other sinks are not affected."""

    def close(self) -> None:
        """Flush; may be called twice. What the training framework owns stays open."""


@runtime_checkable
class ValueSink(Sink, Protocol):
    """A sink that also takes values which belong to no snapshot: what layer-wise control decides."""

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Write values under their full names, such as `alpha_control/lr_max`; those of `layers` are one per layer."""


@dataclass(frozen=True)
class Host:
    """What a training framework offers to sinks.

    Attributes:
        output_dir: folder for files that a sink writes.
        offers: objects that may be, or hold, a writer: Lightning's loggers, Hugging Face's callbacks, a user's own.
        step_key: key under which the framework logs its step to W&B.
        per_layer_scalars: log one scalar per layer and precision.
        images: log charts of every n-th state (`ChartSchedule`); 0: of none.
    """

    output_dir: Path
    offers: tuple[Any, ...] = ()
    step_key: str = "global_step"
    per_layer_scalars: bool = True
    images: int = 1


class SinkFactory(Protocol):
    """What a plugin of the group `sinks` is: a function that makes the sinks of a run."""

    def __call__(self, host: Host, *, asked: bool) -> Sequence[Sink]:
        """Return one sink per object that it recognises among `host.offers`; none is fine.

        A sink that writes through such an object has it as its attribute `adopted`, so that a user can hand it in.

        Args:
            host: what the training framework offers.
            asked: the user named this sink. Without an offer it then makes a writer of its own.

        Raises:
            OptionError: asked, and it has nowhere to write.
            MissingExtraError: asked, and an optional package is missing.
        """


def as_list(sinks: Any) -> list[Any]:
    """Return what a user has given as `sinks` as a list: names and objects."""
    return list(sinks) if isinstance(sinks, Sequence) and not isinstance(sinks, str) else [sinks]


def check_sinks(sinks: Any) -> None:
    """Raise OptionError for a name that no plugin has; imports none."""
    known = (AUTO, *plugins.names("sinks"))
    for sink in as_list(sinks):
        if sink is None or isinstance(sink, str) and sink not in known:
            raise OptionError(f"sinks: expected some of {', '.join(known)} or objects, got {sink!r}.")


def open_sinks(sinks: Any, host: Host) -> list[Sink]:
    """Return the sinks of a run, each destination once.

    Args:
        sinks: a name or object, or a list of them. "auto": every plugin that finds something to write to, and every
            logger that the host offers. Other names: that plugin. Objects: a `Sink`, a Lightning or Fabric logger, or a
            writer that a plugin recognises (a SummaryWriter, a W&B run).
        host: what the framework offers.

    Raises:
        OptionError: a named sink cannot be imported or has nothing to write to, or no plugin recognises an object.
        MissingExtraError: a named sink needs an optional package.
    """
    check_sinks(sinks)
    opened: list[Sink] = []
    for entry in as_list(sinks):
        opened += [sink for sink in _sinks_of(entry, host) if not any(_same(sink, other) for other in opened)]
    return opened


def _sinks_of(entry: Any, host: Host) -> Sequence[Sink]:
    if entry == AUTO:
        return _offered(host)
    if isinstance(entry, str):
        made: Sequence[Sink] = plugins.load("sinks", entry)(host, asked=True)
        return made
    if isinstance(entry, Sink):
        return [entry]
    found = [sink for sink in _offered(replace(host, offers=(entry,))) if getattr(sink, "adopted", None) is entry]
    if not found:
        raise OptionError(
            f"sinks: expected a name, a Sink (log, close), a logger (log_metrics) or a writer that an installed sink "
            f"knows, got {type(entry).__name__}."
        )
    return found


def _same(one: Sink, other: Sink) -> bool:
    """Return True if two sinks write to one place."""
    places = [getattr(sink, "adopted", sink) for sink in (one, other)]
    return one is other or type(one) is type(other) and places[0] is places[1]


def _offered(host: Host) -> list[Sink]:
    """Return what all plugins make of an offer; one of another distribution that fails costs a warning, not the run."""
    found: list[Sink] = []
    for name, factory in plugins.load_all("sinks"):
        try:
            found += factory(host, asked=False)
        except Exception as error:
            if plugins.is_own("sinks", name):
                raise
            plugins.leave_out("sinks", name, f"it failed with {type(error).__name__}: {error}.")
    adopted = {id(getattr(sink, "adopted", None)) for sink in found}
    loggers = [offer for offer in host.offers if is_logger(offer)]
    # Hugging Face's reporters are offered as they are and as loggers, which hold them.
    left = [each for each in loggers if not adopted & {id(each), id(getattr(each, "reporter", each))}]
    return [*found, *map(LoggerSink, left)]


class MemorySink:
    """Keeps snapshots, for notebooks and tests.

    Attributes:
        snapshots: in the order logged.
        values: (step, name -> value) in the order logged.
        closed: how often `close` was called.
    """

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.values: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def log(self, snapshot: Snapshot) -> None:
        """Keep it."""
        self.snapshots.append(snapshot)

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Keep them."""
        self.values.append((step, {**values, **layers}))

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1
