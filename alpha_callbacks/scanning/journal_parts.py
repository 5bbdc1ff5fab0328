"""The parts of a journal, each of which one process writes at a time; nobody removes one that is being written."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from alpha_callbacks.errors import JournalError
from alpha_callbacks.utils.locks import take_lock


@contextmanager
def only_writer(folder: Path, part: str) -> Iterator[None]:
    """Keep other processes from writing or removing a part during a block.

    Raises:
        JournalError: another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take_lock(folder / f".{part}.lock")
    except TimeoutError as error:
        raise JournalError(
            f"{folder / part}.jsonl: expected to be the only writer, another scan is at work here. Wait for it, "
            "or name another --output-dir."
        ) from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def clear_journal(folder: Path, parts: str = "*", *, own: str = "") -> None:
    """Remove parts, or none of them if another process is writing one.

    Args:
        folder: of the journal.
        parts: a pattern of their names.
        own: the part that the caller is the only writer of.

    Raises:
        JournalError: another process is writing one.
    """
    files = sorted(folder.glob(f"{parts}.jsonl"))
    with ExitStack() as held:
        for file in files:
            if file.stem != own:
                held.enter_context(only_writer(folder, file.stem))
        for file in files:
            file.unlink()
