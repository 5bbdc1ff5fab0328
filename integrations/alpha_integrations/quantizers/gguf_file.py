"""A GGUF file that is copied: its metadata byte for byte, its tensors one at a time, what stands before the weights.

The package gguf would make an object of each token of the vocabulary, which takes longer than to encode a small model.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpha_callbacks.checkpoints.gguf_header import GgufHeader, GgufTensor, read_gguf_header
from alpha_callbacks.errors import CheckpointError, PlanError

_VERSION = 3
_ALIGNMENT = 32  # of a file that names none
_MADE_ANEW = ("general.alignment", "general.file_type", "general.quantization_version")
_SPLIT = "split."
_UINT32 = 4  # type of a metadata value


@dataclass(frozen=True)
class SourceTensor:
    """A tensor of the file that is copied.

    Attributes:
        file: where it is.
        place: its entry in the header.
        kind: its ggml type, a `gguf.GGMLQuantizationType`.
    """

    file: Path
    place: GgufTensor
    kind: Any

    def data(self) -> Any:
        """Return the stored bytes, uint8 of shape (..., bytes of a row)."""
        shape = stored_shape(self.place.shape, self.kind)
        with self.file.open("rb") as handle:
            handle.seek(self.place.offset)
            return np.fromfile(handle, np.uint8, math.prod(shape)).reshape(shape)


def read_source(file: Path) -> tuple[GgufHeader, dict[str, SourceTensor]]:
    """Return the header of a whole model, and tensor name -> tensor.

    Raises:
        PlanError: damaged, one of several files, with the highest byte first, or of types that gguf does not know.
    """
    import gguf

    try:
        header = read_gguf_header(file)
    except CheckpointError as error:
        raise PlanError(str(error)) from error
    if (count := header.fields.get("split.count", 1)) > 1:
        raise PlanError(
            f"{file}: expected a whole model, got one of the {count} files that it was split into. Merge them with "
            "`llama-gguf-split --merge` and scan the result."
        )
    if header.big_endian:
        raise PlanError(f"{file}: expected the lowest byte first, got the highest first. Convert the model again.")
    tensors = dict[str, SourceTensor]()
    for place in header.tensors:
        try:
            found = SourceTensor(file, place, gguf.GGMLQuantizationType(place.kind))
            size = math.prod(stored_shape(place.shape, found.kind))
        except ValueError as error:
            raise PlanError(f"{file}: expected tensors that gguf knows, got {place.name}: {error}.") from error
        if size > header.size - place.offset:
            left = header.size - place.offset
            raise PlanError(f"{file}: expected a whole GGUF file, got {left} of {size} bytes of {place.name}.")
        tensors[place.name] = found
    return header, tensors


def stored_shape(shape: Sequence[int], kind: Any) -> tuple[int, ...]:
    """Return (..., bytes of a row) for (..., values of a row); ValueError if such rows are no whole blocks."""
    import gguf

    return tuple(gguf.quant_shape_to_byte_shape(shape, kind)) if shape else (gguf.GGML_QUANT_SIZES[kind][1],)


def metadata(header: GgufHeader) -> list[bytes]:
    """Return the metadata pairs as they are stored, and those of a file whose tensors have several types."""
    import gguf

    pairs = []
    with header.file.open("rb") as handle:
        for key, (begin, stop) in header.pairs.items():
            if key not in _MADE_ANEW and not key.startswith(_SPLIT):
                handle.seek(begin)
                pairs.append(handle.read(stop - begin))
    numbers = {
        "general.file_type": gguf.LlamaFileType.GUESSED,  # a mix has no name
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
    }
    return pairs + [_text(key) + struct.pack("<II", _UINT32, number) for key, number in numbers.items()]


def before_weights(pairs: Sequence[bytes], kinds: Sequence[tuple[GgufTensor, Any]]) -> bytes:
    """Return what stands before the weights.

    Args:
        pairs: of the metadata.
        kinds: tensors in the order in which they follow, each with the ggml type that it gets.
    """
    parts, offset = [struct.pack("<4sIQQ", b"GGUF", _VERSION, len(kinds), len(pairs)), *pairs], 0
    for tensor, kind in kinds:
        sizes = tensor.shape[::-1]
        parts += [_text(tensor.name), struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)]
        size = math.prod(stored_shape(tensor.shape, kind))
        offset += size + len(padding(size))
    whole = b"".join(parts)
    return whole + padding(len(whole))


def padding(size: int) -> bytes:
    """Return what follows after so many bytes, so that the next tensor begins where it may."""
    return bytes(-size % _ALIGNMENT)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
