"""Safetensors that the ranks of torch.distributed.checkpoint wrote (HuggingFaceStorageWriter): boxes of each tensor."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.safetensors_reader import read_safetensors
from alpha_callbacks.checkpoints.torch_files.chunks import Chunk, Chunked, require_whole
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.json_text import parsed_json
from alpha_callbacks.weights.stored_tensor import StoredTensor

SHARD = re.compile(r"^shard-(\d{5})-model-\d{5}-of-\d{5}\.safetensors$")
_OFFSETS = "DCP_SHARDING_INFO"


def read_hf_shards(files: list[Path]) -> Checkpoint:
    """Join the boxes of all ranks by the offsets in the headers of their files.

    No header says how large a whole tensor is or how many ranks there were: a note says what this rests on.

    Raises:
        CheckpointError: a rank is missing, offsets are, or the boxes of a tensor leave a hole.
    """
    ranks = {int(match[1]) for file in files if (match := SHARD.match(file.name))}
    if ranks != set(range(1, len(ranks) + 1)):
        raise CheckpointError(f"{files[0].parent}: expected the files of all ranks, got {sorted(ranks)[:8]}.")
    parts: dict[str, list[tuple[tuple[int, ...], StoredTensor]]] = {}
    for file in files:
        opened = read_safetensors([file])
        offsets = _offsets(file, opened.metadata)
        for tensor in opened.tensors:
            place = offsets.get(tensor.name, {}).get("saved_offsets")
            if not isinstance(place, list) or len(place) != len(tensor.shape) or not all(map(_is_size, place)):
                raise CheckpointError(f"{file}: expected the offsets of {tensor.name!r} in its header, found none.")
            parts.setdefault(tensor.name, []).append((tuple(place), tensor))
    try:
        joined = tuple(_joined(boxes) for boxes in parts.values())
    except ValueError as error:
        raise CheckpointError(
            f"{files[0].parent}: expected the files of all ranks, got {error}. Copy the files of all ranks."
        ) from error
    note = f"Joined from the files of {len(ranks)} ranks, the highest found; the files do not say how many there were."
    return Checkpoint("", joined, {}, tuple(files), notes=(note,))


def _joined(boxes: list[tuple[tuple[int, ...], StoredTensor]]) -> StoredTensor:
    one = boxes[0][1]
    ends = [[o + n for o, n in zip(place, tensor.shape, strict=True)] for place, tensor in boxes]
    if len({(len(place), tensor.stored_dtype) for place, tensor in boxes}) > 1 or one.dtype is None:
        if len(boxes) == 1 and not any(boxes[0][0]):
            return one
        raise ValueError(f"{one.name!r} in boxes of several types")
    shape = tuple(map(max, zip(*ends, strict=True)))
    try:
        require_whole(shape, [(place, tensor.shape) for place, tensor in boxes])
    except ValueError as error:
        raise ValueError(f"{one.name!r} in {error}") from error
    chunks = tuple(Chunk(place, tensor.shape, tensor.read) for place, tensor in boxes)
    return replace(one, shape=shape, read=Chunked(shape, one.dtype, chunks).rows)


def _offsets(file: Path, metadata: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    try:
        content = parsed_json(metadata.get(_OFFSETS, "").encode())
        return {name: entry for name, entry in content.items() if isinstance(entry, dict)}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: expected {_OFFSETS} in its header, got {error}.") from error


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
