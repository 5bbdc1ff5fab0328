"""Summary values to any Lightning logger that has no sink of its own."""

from collections.abc import Sequence
from typing import Any

from alpha_callbacks.sinks.sink import Sink
from alpha_callbacks.sinks.snapshot import Snapshot


def sinks_for_other_loggers(loggers: Sequence[Any], found: Sequence[Sink]) -> list[Sink]:
    """Return a sink for each logger that none of the sinks found writes to."""
    adopted = [id(getattr(sink, "adopted", None)) for sink in found]
    return [LoggerSink(logger) for logger in loggers if id(logger) not in adopted]


class LoggerSink:
    """Sends the summary values to a Lightning logger that no other sink writes to (CSVLogger, MLflow, Comet, ...).

    | key | meaning, unit | when |
    |---|---|---|
    | `alpha_hill/<name>` | the summary values of `Snapshot.scalars` | every snapshot |
    """

    def __init__(self, logger: Any) -> None:
        self.adopted = logger

    def log(self, snapshot: Snapshot) -> None:
        """Log one row of scalars."""
        prefix = f"alpha_hill{self.adopted.group_separator}"
        self.adopted.log_metrics({prefix + name: value for name, value in snapshot.scalars.items()}, step=snapshot.step)

    def close(self) -> None:
        """Do nothing: the trainer finishes its loggers."""
