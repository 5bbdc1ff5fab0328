"""One malformed input, and what writes it."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.make_corpus import CORPUS

NAME = "model.layers.0.mlp.up_proj.weight"
_ZEROS = bytes(16 * 16 * 4)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**18,
    2.5,
    float("nan"),
    float("inf"),
    "16",
    "",
    [],
    [16],
    {},
    {"a": 1},
    "\ud800",
)


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: of its folder.
        write: puts the files into the folder.
        command: what reads it; `{}` stands for the folder.
        big: takes tens of megabytes or seconds to write.
    """

    name: str
    write: Callable[[Path], object]
    command: tuple[str, ...] = ("scan", "{}")
    big: bool = False


def sound(place: str) -> bytes:
    """Return a file of the corpus."""
    return (CORPUS / place).read_bytes()


def one_file(name: str, data: bytes | str) -> Callable[[Path], object]:
    content = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return lambda folder: (folder / name).write_bytes(content)


def both(*writers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [write(folder) for write in writers]


def tensor(**other: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [16, 16], "data_offsets": [0, 1024], **other}


def packed(header: Any, data: bytes = _ZEROS, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data
