"""Files that are read to their end. A named pipe that nobody writes to has none, nor has /dev/zero."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


def odd_kind(mode: int) -> str:
    """Return what the mode of `os.stat` says in words, "" of a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a device")


def open_regular(file: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        OSError: it is not there, may not be read, or is no regular file.
    """
    if what := odd_kind(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, f"{what}, no regular file", str(file))
    return file.open("rb")


def read_regular(file: Path) -> bytes:
    """Return the content of a file; raises as `open_regular`."""
    with open_regular(file) as opened:
        return opened.read()


def reason_of(error: Exception) -> str:
    """Return what an error says, without the path, which the message that quotes it has already.

    Examples:
        >>> reason_of(PermissionError(13, "Permission denied", "x.json")), reason_of(ValueError("no JSON"))
        ('Permission denied', 'no JSON')
    """
    return isinstance(error, OSError) and error.strerror or str(error)
