"""Where snapshots go: TensorBoard, W&B, CSV, ... each found by entry point or handed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.snapshot import Snapshot

GROUP = "alpha_callbacks.sinks"


@runtime_checkable
class Sink(Protocol):
    """A destination. Called on the first rank and the main thread only, so it may draw, write and log."""

    def log(self, snapshot: Snapshot) -> None:
        """Write one snapshot. An error costs this sink a warning and nobody else anything."""

    def close(self) -> None:
        """Flush; may be called twice. What the training framework owns stays open."""


@dataclass(frozen=True)
class Host:
    """What a training framework offers to sinks.

    Attributes:
        output_dir: folder for files of ours.
        offers: objects that may be, or hold, a writer: Lightning's loggers, Hugging Face's callbacks, a user's own.
        step_key: key under which the framework logs its step to W&B.
        per_layer_scalars: log a scalar per layer and precision.
        images: draw charts.
    """

    output_dir: Path
    offers: tuple[Any, ...] = ()
    step_key: str = "global_step"
    per_layer_scalars: bool = True
    images: bool = True


# Returns the sinks for what it recognises among host.offers, each with that object as its attribute `adopted`. `asked`
# is True where the user named this sink: then it makes a writer of its own, or an OptionError says what is missing.
SinkFactory = Callable[..., Sequence[Sink]]


def check_sinks(sinks: str | Sequence[Any]) -> None:
    """Raise OptionError for a name that no installed package has registered."""
    if sinks == "auto":
        return
    if isinstance(sinks, str):
        raise OptionError(f'sinks: expected "auto" or a list such as ["csv", "tensorboard"], got {sinks!r}.')
    known = sorted(point.name for point in entry_points(group=GROUP))
    for sink in sinks:
        if isinstance(sink, str) and sink not in known:
            raise OptionError(f"sinks: expected some of {', '.join(known)} or objects, got {sink!r}.")


def open_sinks(sinks: str | Sequence[Any], host: Host) -> list[Sink]:
    """Return the sinks of a run.

    Args:
        sinks: "auto": every registered sink that finds something to write to. A list: names, `Sink` objects, and
            writers (a SummaryWriter, a W&B run, a Lightning logger), which the registered sinks recognise.
        host: what the framework offers.

    Raises:
        OptionError: a named sink has nothing to write to, or nobody recognises an object.
        MissingExtraError: a named sink needs an optional package.
    """
    check_sinks(sinks)
    factories = {point.name: point for point in entry_points(group=GROUP)}
    if sinks == "auto":
        return [sink for name in sorted(factories) for sink in factories[name].load()(host, asked=False)]
    opened: list[Sink] = []
    for entry in sinks:
        if isinstance(entry, str):
            opened += factories[entry].load()(host, asked=True)
        elif isinstance(entry, Sink):
            opened.append(entry)
        else:
            own = replace(host, offers=(entry,))
            candidates = [sink for name in sorted(factories) for sink in factories[name].load()(own, asked=False)]
            found = [sink for sink in candidates if getattr(sink, "adopted", None) is entry]
            if not found:
                raise OptionError(
                    f"sinks: expected a name, a Sink (log, close) or a writer that an installed sink knows, "
                    f"got {type(entry).__name__}."
                )
            opened += found
    return opened


class MemorySink:
    """Keeps snapshots, for notebooks and tests.

    Attributes:
        snapshots: in the order logged.
        closed: how often `close` was called.
    """

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.closed = 0

    def log(self, snapshot: Snapshot) -> None:
        """Keep it."""
        self.snapshots.append(snapshot)

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1
