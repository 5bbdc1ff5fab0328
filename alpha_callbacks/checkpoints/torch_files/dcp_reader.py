"""Folders of torch.distributed.checkpoint (FSDP, torchtitan, Lightning, Trainer), read tensor by tensor.

The file `.metadata` says of which chunks a tensor is made and where each lies; a chunk is a file of torch.save within
a larger file. The metadata are a pickle, read as data as all others.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.folders import METADATA
from alpha_callbacks.checkpoints.torch_files.chunks import Chunk, Chunked, require_whole
from alpha_callbacks.checkpoints.torch_files.pickle_opcodes import MOST_BYTES, read_pickle
from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign
from alpha_callbacks.checkpoints.torch_files.state_dicts import find_weights
from alpha_callbacks.checkpoints.torch_files.torch_container import open_container
from alpha_callbacks.checkpoints.torch_files.torch_objects import PickledTensor, construct, resolve, storage_of
from alpha_callbacks.checkpoints.torch_files.torch_reader import note_on_place, rows_of
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.stored_tensor import StoredTensor


def read_dcp(folder: Path) -> Checkpoint:
    """List the tensors of a folder with a file `.metadata`; every chunk is checked to be there.

    Raises:
        CheckpointError: damaged metadata, a missing or short file, or a tensor with holes.
    """
    file = folder / METADATA
    try:
        tensors, paths = _read_metadata(folder)
        found = find_weights(_nested(tensors, paths), Chunked)
    except ValueError as error:
        raise CheckpointError(
            f"{file}: expected the metadata of a distributed checkpoint, got {error}. Copy the folder again, or save "
            "it again."
        ) from error
    weights = _layer_by_layer(found.weights) if (folder / "metadata.json").is_file() else found.weights
    listed = [_stored(name, tensor) for name, tensor in weights.items()]
    listed += [_stored(name, tensor, why) for name, (tensor, why) in found.beside.items()]
    files = (file, *sorted(folder.glob("*.distcp")))
    return Checkpoint("", tuple(listed), {}, files, notes=note_on_place(folder.name, found))


def _read_metadata(folder: Path) -> tuple[dict[str, Chunked], Mapping[str, Any]]:
    """Return name -> tensor, and name -> path in the state dict that was saved."""
    file = folder / METADATA
    if not file.is_file():  # a pipe or a device would not end
        raise CheckpointError(f"{file}: expected a regular file, got a link to nothing, a pipe or a device.")
    try:
        size = file.stat().st_size
        data = file.read_bytes() if size <= MOST_BYTES else b""
    except OSError as error:
        raise CheckpointError(f"{file}: expected to read it, got: {error.strerror or error}.") from error
    if not data:
        raise ValueError(f"{size:,} bytes")
    content = _fields(read_pickle(data, construct=construct, resolve=resolve, persistent=storage_of)[0])
    entries, storage, paths = (content.get(k) for k in ("state_dict_metadata", "storage_data", "planner_data"))
    if not isinstance(entries, dict) or not isinstance(storage, dict):
        raise ValueError("no list of tensors")
    places: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    for key, value in storage.items():
        index = _fields(key)
        if isinstance(index.get("fqn"), str) and _is_sizes(index.get("offset")):
            places[index["fqn"], index["offset"]] = _fields(value)
    sizes = dict[str, int]()
    tensors = {
        str(name): _tensor(str(name), _fields(entry), places, folder, sizes)
        for name, entry in entries.items()
        if _fields(entry).get("chunks") is not None
    }
    return tensors, paths if isinstance(paths, dict) else {}


def _tensor(
    name: str, entry: Mapping[str, Any], places: Mapping[Any, Mapping[str, Any]], folder: Path, sizes: dict[str, int]
) -> Chunked:
    """Return one tensor, its chunks checked to cover it and to lie in their files."""
    properties, shape, boxes = _fields(entry.get("properties")), entry.get("size"), entry.get("chunks")
    dtype = properties.get("dtype")
    if not isinstance(dtype, torch.dtype) or not _is_sizes(shape) or not isinstance(boxes, list):
        raise ValueError(f"a tensor {name!r} without type, size or chunks")
    assert isinstance(shape, tuple)
    known = [(_fields(box).get("offsets"), _fields(box).get("sizes")) for box in boxes]
    if not all(_is_sizes(part) for box in known for part in box):
        raise ValueError(f"a chunk of {name!r} without offsets or sizes")
    pairs = [(tuple(offsets or ()), tuple(extent or ())) for offsets, extent in known]
    try:
        require_whole(shape, pairs)
    except ValueError as error:
        raise ValueError(f"{name!r} in {error}") from error
    chunks = []
    for offsets, extent in pairs:
        place = places.get((name, offsets))
        if place is None:
            raise ValueError(f"a chunk of {name!r} that is in no file")
        file, start, length = _place(folder, place, sizes)
        chunks.append(Chunk(offsets, extent, partial(_rows, file, start, length, dtype, extent)))
    return Chunked(shape, dtype, tuple(chunks))


def _place(folder: Path, place: Mapping[str, Any], sizes: dict[str, int]) -> tuple[Path, int, int]:
    """Return the file, offset and length of a chunk."""
    relative, start, length = (place.get(key) for key in ("relative_path", "offset", "length"))
    plain = isinstance(relative, str) and Path(relative).name == relative and relative not in ("", ".", "..")
    if not plain or not isinstance(start, int) or not isinstance(length, int) or min(start, length) < 0:
        raise ValueError("a chunk without a file in this folder, an offset or a length")
    if place.get("transform_descriptors"):
        raise ValueError("chunks that are compressed or encrypted by an extension")
    file = folder / str(relative)
    if relative not in sizes:
        if not file.is_file():
            raise CheckpointError(
                f"{file}: expected this file (named by {METADATA}), it is missing. Copy the files of all ranks."
            )
        sizes[str(relative)] = file.stat().st_size
    if start + length > sizes[str(relative)]:
        raise CheckpointError(
            f"{file}: expected {start + length:,} bytes, got {sizes[str(relative)]:,}. Copy it again."
        )
    return file, start, length


def _rows(
    file: Path, place: int, length: int, dtype: torch.dtype, shape: tuple[int, ...], start: int, stop: int
) -> Tensor:
    """Return rows of a chunk: a file of torch.save that holds one tensor."""
    container = open_container(file, place, length)
    tensor = container.content
    if not isinstance(tensor, PickledTensor) or tensor.shape != shape or tensor.dtype != dtype:
        raise CheckpointError(f"{file}: expected a chunk of shape {shape} at byte {place:,}, got another object.")
    return rows_of(container, tensor, start, stop)


def _stored(name: str, tensor: Chunked, companion: str = "") -> StoredTensor:
    dtype = tensor.dtype if tensor.dtype.is_floating_point else None
    label = str(tensor.dtype).removeprefix("torch.")
    return StoredTensor(name, tensor.shape, dtype, label, tensor.rows, companion=companion)


def _layer_by_layer(tensors: Mapping[str, Chunked]) -> dict[str, Chunked]:
    """Return the layers of Megatron, which stacks those of one kind, under the names that they have in the model."""
    found: dict[str, Chunked] = {}
    for name, tensor in tensors.items():
        before, stack, after = name.partition(".layers.")
        if not stack or after.partition(".")[0].isdigit() or not tensor.shape:
            found[name] = tensor
            continue
        for i in range(tensor.shape[0]):
            chunk = Chunk((0,) * (len(tensor.shape) - 1), tensor.shape[1:], partial(_rows_of_layer, tensor, i))
            found[f"{before}.layers.{i}.{after}"] = Chunked(tensor.shape[1:], tensor.dtype, (chunk,))
    return found


def _rows_of_layer(tensor: Chunked, layer: int, start: int, stop: int) -> Tensor:
    whole = tensor.rows(layer, layer + 1)[0]
    return whole[start:stop] if whole.ndim else whole


def _nested(tensors: Mapping[str, Chunked], paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict as it was saved: its entries are listed under joined names, with their paths beside."""
    root: dict[str, Any] = {}
    for name, tensor in tensors.items():
        path = paths.get(name)
        known = isinstance(path, tuple) and path and all(isinstance(part, str | int) for part in path)
        parts = [str(part) for part in path] if known and isinstance(path, tuple) else [name]
        level = root
        for part in parts[:-1]:
            below = level.setdefault(part, {})
            if not isinstance(below, dict):
                raise ValueError(f"{name!r} below another tensor")
            level = below
        if parts[-1] in level:
            raise ValueError(f"{name!r} in a place that is taken")
        level[parts[-1]] = tensor
    return root


def _fields(record: Any) -> Mapping[str, Any]:
    """Return the fields of a dataclass that was pickled."""
    if not isinstance(record, Foreign):
        return {}
    if record.of == "torch.distributed.checkpoint.metadata.TensorProperties" and isinstance(record.state, tuple):
        return {"dtype": record.state[0]} if record.state else {}
    return record.state if isinstance(record.state, dict) else {}


def _is_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(size, int) and size >= 0 for size in value)
