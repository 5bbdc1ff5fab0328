"""Drafts: a file or folder appears under its name when it is whole; drafts that a killed process left are removed.

A draft stands beside its target as `.<target>.<machine>-<process>-<random>.tmp`. The first draft in a folder that a
process makes removes those of dead processes there. One of another machine or container is left alone: whether its
process still lives cannot be known from here.
"""

import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from alpha_callbacks.utils.full_disk import naming

_NAME = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)
_HEAD = 40  # characters of the target's name

_mine: set[Path] = set()  # drafts that this process writes now
_swept: set[tuple[int, Path]] = set()


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Yield a free name beside a file, in a folder that exists then; what the block writes there becomes the file.

    If the block fails, the draft goes and the old file stays: a full disk must not fill further with drafts.
    """
    with draft_beside(target) as draft:
        yield draft
        os.replace(draft, target)


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """Yield a free name beside a file or folder; whatever has that name after the block is removed."""
    folder = target.parent
    if not os.path.isdir(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if (os.getpid(), folder) not in _swept:
        _swept.add((os.getpid(), folder))
        remove_dead_drafts(folder)
    draft = folder / f".{target.name[:_HEAD]}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    _mine.add(draft)
    try:
        with naming(target):
            yield draft
    finally:
        _remove(draft)
        _mine.discard(draft)


def remove_dead_drafts(folder: Path) -> None:
    """Remove the drafts in a folder whose process, on this machine, has died."""
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(".tmp")]
        for draft in (folder / name for name in names if (found := _NAME.fullmatch(name)) and _is_dead(folder, found)):
            _remove(draft)


def _is_dead(folder: Path, name: re.Match[str]) -> bool:
    machine, process = name[1], int(name[2])
    if machine != _machine():
        return False
    if process == os.getpid():  # a number is given again
        return folder / name[0] not in _mine
    import psutil

    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _remove(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # it has become its target: the rule
        return
    except OSError:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


@cache
def _machine() -> str:
    """Return a digest of what process numbers belong to: the machine, and on Linux the container."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
