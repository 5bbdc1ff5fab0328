"""A part of a file, as a file."""

import io
from pathlib import Path
from typing import Any


class FilePart(io.RawIOBase):
    """Bytes start..start + size of a file, read only; all of it from `start` where no size is given.

    Raises:
        OSError: the file cannot be opened, or is no regular file.
    """

    def __init__(self, file: Path, start: int = 0, size: int | None = None) -> None:
        self._file = file.open("rb", buffering=0)
        whole = self._file.seek(0, io.SEEK_END)
        self._start, self._size = start, max(0, whole - start if size is None else min(size, whole - start))
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is in the part and fits."""
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        if not len(view):
            return 0
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()
