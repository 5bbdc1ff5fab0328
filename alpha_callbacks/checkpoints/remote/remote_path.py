"""A file on a server in the place of a path, for readers that open their files: each read is one request."""

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from alpha_callbacks.checkpoints.remote.remote_file import RemoteFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WINDOW = 2**22  # bytes read ahead where the reader does not say otherwise: headers are read in small steps


class RemotePath:
    """What a reader asks of a path: its name, and to be opened.

    Attributes:
        name: of the file.
    """

    def __init__(self, name: str, file: RemoteFile) -> None:
        """Stand for a file that is open already."""
        self.name, self._file = name, file

    def __str__(self) -> str:
        """Return the address as it may be shown."""
        return self._file.where

    def is_file(self) -> bool:
        """Return True: it has answered."""
        return True

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """Return the bytes of the file as a stream, of which nothing has been read."""
        raw = _Ranges(self._file)
        return cast(BinaryIO, raw if buffering == 0 else io.BufferedReader(raw, _WINDOW))


class _Ranges(io.RawIOBase):
    def __init__(self, file: RemoteFile) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._file.version.size}[whence]
        return self._place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._file.version.size - self._place))
        self._file.fill(view[:count], self._place)
        self._place += count
        return count
