"""Summary values to any logger of Lightning or Fabric that has no sink of its own."""

from collections.abc import Mapping
from typing import Any

from alpha_callbacks.foreign_text import distinct
from alpha_callbacks.sinks.snapshot import Snapshot


def is_logger(offer: Any) -> bool:
    """Return True for a logger as Lightning and Fabric define it."""
    return callable(getattr(type(offer), "log_metrics", None))


class LoggerSink:
    """Sends the summary values to a logger that no other sink writes to (CSVLogger, MLflow, Comet, ...).

    | key | meaning, unit | when |
    |---|---|---|
    | `alpha_hill/<name>` | the summary values of `Snapshot.cards` | every snapshot |

    Attributes:
        adopted: the logger.
        name: kind of the logger, for messages.
    """

    def __init__(self, logger: Any) -> None:
        self.adopted = logger
        self.name = str(getattr(logger, "kind", type(logger).__name__))  # not its name: some ask their server for that

    def log(self, snapshot: Snapshot) -> None:
        """Log one row of scalars."""
        cards = snapshot.cards
        self.log_values({f"alpha_hill/{key}": cards[name] for name, key in distinct(cards).items()}, {}, snapshot.step)

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Log one row, without what is one value per layer; some loggers have another separator than "/"."""
        separator = getattr(self.adopted, "group_separator", "/")
        self.adopted.log_metrics({name.replace("/", separator): value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Do nothing: who made the logger finishes it."""
