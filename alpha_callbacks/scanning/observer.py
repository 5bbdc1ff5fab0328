"""What a scan tells of its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpha_callbacks.analysis.parallel import Parallelism
    from alpha_callbacks.analysis.result import Result
    from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Origin
    from alpha_callbacks.weights.weight import Weight


class Observer:
    """Receives the progress of a scan; this base class ignores it."""

    def opened(self, checkpoint: Checkpoint, todo: Sequence[Weight], kept: int, parallelism: Parallelism) -> None:
        """Headers are checked; `todo` will be computed here, `kept` layers come from the journal."""

    def fetching(self, origin: Origin, size: int) -> None:
        """The weights come over a network; about `size` bytes will be read, which `origin.traffic` counts."""

    def finished(self, result: Result) -> None:
        """One more layer is in the journal."""

    def drawing(self, done: int, total: int) -> None:
        """Charts on disk so far."""
