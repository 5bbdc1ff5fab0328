"""Is a file still the one that was opened? Asked before each read and at the end of a scan."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from alpha_callbacks.errors import CheckpointError, SourceError


class Stamp(NamedTuple):
    """What tells a file from what was written over it.

    The inode is left out: some network file systems number their files anew while they are mounted. A file that was
    replaced by one of the same size and time is seen by its fingerprint.
    """

    size: int
    modified_ns: int


def stamp_of(file: Path | int) -> Stamp:
    """Return the stamp of a file, or of an open one by its descriptor.

    Raises:
        OSError: it is not there.
    """
    found = os.stat(file)
    return Stamp(found.st_size, found.st_mtime_ns)


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Return file -> stamp.

    Raises:
        CheckpointError: one cannot be looked at.
    """
    try:
        return {file: stamp_of(file) for file in files}
    except OSError as error:
        raise CheckpointError(f"{error.filename}: expected a file that can be read, got {error.strerror}.") from error


def require_same(file: Path, before: Stamp, opened: int | None = None) -> None:
    """Check a file against the stamp that it had when the checkpoint was opened.

    Args:
        file: its path.
        before: its stamp then.
        opened: a descriptor of it, if it is open.

    Raises:
        SourceError: it has changed or is gone.
    """
    try:
        now = stamp_of(file if opened is None else opened)
    except OSError as error:
        raise SourceError(f"{file}: expected the file that was opened, it is gone ({error.strerror}).") from error
    if now != before:
        what = f"{before.size:,} bytes, now {now.size:,}" if now.size != before.size else "written to or touched since"
        raise SourceError(f"{file}: expected the file that was opened, it has changed ({what}).")


def require_all_same(stamps: Mapping[Path, Stamp]) -> None:
    """Check all files.

    Raises:
        SourceError: one has changed or is gone; names it.
    """
    for file, before in stamps.items():
        require_same(file, before)
