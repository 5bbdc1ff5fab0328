"""When a training run is measured. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

from alpha_callbacks.errors import OptionError

Named = Literal["checkpoint", "epoch", "train_end"]
Every = Named | int


@dataclass(frozen=True)
class Schedule:
    """How often to measure between the first state and the last, which always are.

    Attributes:
        every: "checkpoint": after each one that is saved; "epoch": at the end of each; a number: every so many
            optimizer steps; "train_end": only the first and last state.

    Raises:
        OptionError: anything else.
    """

    every: Every = "checkpoint"

    def __post_init__(self) -> None:
        """Check the choice."""
        number = isinstance(self.every, int) and not isinstance(self.every, bool)
        if not (self.every in get_args(Named) if isinstance(self.every, str) else number and self.every >= 1):
            raise OptionError(
                f"every: expected checkpoint, epoch, train_end or a number of steps from 1, got {self.every!r}."
            )

    def crossed(self, step: int, last: int) -> bool:
        """Return True if a multiple of the number of steps lies in (last, step]; some loops count in strides.

        Examples:
            >>> Schedule(10).crossed(20, 19), Schedule(10).crossed(21, 19), Schedule(10).crossed(19, 10)
            (True, True, False)
        """
        return isinstance(self.every, int) and step // self.every > last // self.every
