"""A checkpoint that changes while it is scanned: noticed, at the end at the latest, and its rows are set aside."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.unchanged import require_all_same
from alpha_callbacks.errors import CheckpointError, SourceError

_INTERVAL = 1.0  # seconds between two looks at all files


@contextmanager
def watched(checkpoint: Checkpoint, prints: Mapping[str, str], journal: Path) -> Iterator[Callable[[], None]]:
    """Watch the files of a checkpoint during a block; yields what looks at them, at most once a second.

    Args:
        checkpoint: as opened.
        prints: its fingerprint, taken when the journal was begun.
        journal: the part that this process writes. If the checkpoint has changed, the part gets another name, so that
            no later run takes up its rows: some may be of the old weights, some of the new ones.

    Raises:
        SourceError: a file has changed or is gone; says where the rows are.
    """
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked > _INTERVAL:
            require_all_same(checkpoint.stamps)
            looked = time.monotonic()

    try:
        yield look
        _require_same(checkpoint, prints)
    except Exception as error:
        if (change := _change(checkpoint, prints)) is None:
            raise
        aside = _set_aside(journal)
        where = f" The rows made so far are in {aside}, and no scan takes them up." if aside else ""
        raise SourceError(f"{change}{where} Scan again when nothing writes to it any more.") from error


def _require_same(checkpoint: Checkpoint, prints: Mapping[str, str]) -> None:
    require_all_same(checkpoint.stamps)
    try:
        now = fingerprint(checkpoint)
    except OSError as error:
        raise SourceError(f"{checkpoint.source}: expected the files that were opened, got {error}.") from error
    changed = next((name for name, digest in prints.items() if now.get(name) != digest), None)
    if changed is not None:
        raise SourceError(f"{checkpoint.source}: expected {changed} as it was opened, its content has changed.")


def _change(checkpoint: Checkpoint, prints: Mapping[str, str]) -> str | None:
    """Return what has changed, or None."""
    try:
        _require_same(checkpoint, prints)
    except CheckpointError as error:
        return str(error)
    return None


def _set_aside(journal: Path) -> Path | None:
    """Rename the part to a free name that no reader of journals looks for; return it, or None without a part."""
    if not journal.exists():
        return None
    names = (journal.with_name(f"{journal.stem}.changed-{i}") for i in range(1, 10_000))
    aside = next(name for name in names if not name.exists())
    journal.rename(aside)
    return aside
