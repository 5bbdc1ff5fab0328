"""Locks among processes, which the system takes back from a process that dies."""

from pathlib import Path
from typing import TYPE_CHECKING

from alpha_callbacks.utils.own_logger import own_logger

if TYPE_CHECKING:
    from filelock import BaseFileLock

_log = own_logger(__name__)


def take_lock(file: Path) -> "BaseFileLock | None":
    """Return a lock that is held until it is released; None, with a warning, where the file system has none.

    Args:
        file: stands for the lock; stays empty.

    Raises:
        TimeoutError: another process holds it, or this one.
    """
    from filelock import FileLock

    # Not one lock per thread: the thread that ends a run may be another than the one that began it.
    lock = FileLock(file, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except TimeoutError:
        raise
    except (OSError, NotImplementedError) as error:
        _log.warning("alpha-Hill: %s cannot be locked (%s): see to it that only one run writes there.", file, error)
        return None
    return lock
