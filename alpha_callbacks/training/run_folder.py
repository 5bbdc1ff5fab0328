"""The folder of one run, locked while the run lasts: two runs in one folder would make one history of both."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_callbacks.errors import OptionError
from alpha_callbacks.utils.atomic_files import make_folder
from alpha_callbacks.utils.locks import take_lock
from alpha_callbacks.utils.own_logger import own_logger

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".alpha_hill.lock"
_MOST = 1_000  # folders tried

_log = own_logger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A folder that no other run writes to until it is released.

    Attributes:
        path: the folder.
    """

    path: Path
    _lock: "BaseFileLock | None"

    def release(self) -> None:
        """Let others have it; may be called twice."""
        if self._lock is not None:
            self._lock.release()


def claim(wanted: Path) -> RunFolder:
    """Make and lock a folder, or, where another run writes to it now, the first free one of `<wanted>-2`, `-3`, ….

    Raises:
        OptionError: it cannot be made, or none is free.
    """
    for path in _candidates(wanted):
        make_folder(path)
        folder = _locked(path)
        if folder is not None:
            if path != wanted:
                said = "another run writes to %s; the results of this one go to %s. In a logger that both use, their"
                _log.warning(f"alpha-Hill: {said} values have the same names.", wanted, path)
            return folder
    raise OptionError(f"output_dir {wanted}: expected a folder that no other run writes to. Name another.")


def _candidates(wanted: Path) -> Iterator[Path]:
    yield wanted
    named = wanted if wanted.name.strip(".") else wanted.resolve()  # "." and ".." have no name to add a number to
    yield from (named.with_name(f"{named.name}-{number}") for number in range(2, _MOST))


def _locked(path: Path) -> RunFolder | None:
    """Return the folder with its lock, or without one where the file system has none; None if another run has it."""
    try:
        return RunFolder(path, take_lock(path / LOCK))
    except TimeoutError:
        return None
