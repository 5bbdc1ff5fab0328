"""Files of torch.save (.bin, .pt, .pth, .pth.tar, Lightning's .ckpt), read without running any code from them."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.torch_files.model_parallel import are_pieces, join_pieces
from alpha_callbacks.checkpoints.torch_files.state_dicts import Found, find_weights
from alpha_callbacks.checkpoints.torch_files.strided_rows import StridedTensor
from alpha_callbacks.checkpoints.torch_files.torch_container import TorchContainer, open_container
from alpha_callbacks.checkpoints.torch_files.torch_objects import PickledTensor
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.stored_tensor import StoredTensor

_MOST_NAMED = 4  # classes that are named in a note


def read_torch_files(files: list[Path]) -> Checkpoint:
    """Read the pickles of the files as data and list their tensors; values are read row by row, never mapped.

    Raises:
        CheckpointError: damaged, compressed, a TorchScript archive, or without tensors.
    """
    pieces: list[list[StoredTensor]] = []
    aliases: dict[str, str] = {}
    notes: list[str] = []
    for file in files:
        container = open_container(file)
        try:
            found = find_weights(container.content, PickledTensor)
        except ValueError as error:
            raise CheckpointError(
                f"{file}: expected a dict of tensors, got {error}. Save model.state_dict()."
            ) from error
        pieces.append(stored_tensors(container, found))
        aliases |= _aliases(found)
        notes += _notes(container, found)
    try:
        joined = join_pieces(pieces, files[0].parent) if are_pieces(files) else [t for piece in pieces for t in piece]
    except ValueError as error:
        raise CheckpointError(
            f"{files[0]}: expected the pieces of a Llama release, got {error}. Complete the download, or convert it."
        ) from error
    return Checkpoint("", tuple(joined), {}, tuple(files), aliases, notes=tuple(notes))


def stored_tensors(container: TorchContainer, found: Found[PickledTensor]) -> list[StoredTensor]:
    """Return the weights, and whatever else the file holds with the reason why it is none."""
    weights = [_stored(container, name, tensor) for name, tensor in found.weights.items()]
    return weights + [_stored(container, name, tensor, why) for name, (tensor, why) in found.beside.items()]


def _stored(container: TorchContainer, name: str, tensor: PickledTensor, companion: str = "") -> StoredTensor:
    return StoredTensor(
        name,
        tensor.shape,
        tensor.dtype if tensor.dtype.is_floating_point else None,
        str(tensor.dtype).removeprefix("torch."),
        partial(rows_of, container, tensor),
        packed=tensor.why,
        companion=companion,
    )


def rows_of(container: TorchContainer, tensor: PickledTensor, start: int, stop: int) -> Tensor:
    """Return rows of a tensor of a file.

    Raises:
        CheckpointError: it has no values to read, or the file has changed.
    """
    if tensor.storage is None:
        raise CheckpointError(f"{container.file}: expected values, got {tensor.why}.")
    offset = container.start_of(tensor.storage) + tensor.offset * tensor.dtype.itemsize
    place = StridedTensor(container.file, offset, tensor.shape, tensor.strides, tensor.dtype, container.swapped)
    return place.rows(start, stop)


def _aliases(found: Found[PickledTensor]) -> dict[str, str]:
    """Return name -> the first name of the same values."""
    owners: dict[object, str] = {}
    aliases = {}
    for name, tensor in found.weights.items():
        if tensor.storage is not None and 0 not in tensor.shape:
            key = (tensor.storage.key, tensor.dtype, tensor.offset, tensor.shape, tensor.strides)
            if owners.setdefault(key, name) != name:
                aliases[name] = owners[key]
    return aliases


def note_on_place(name: str, found: Found[Any]) -> tuple[str, ...]:
    """Say by which rule the weights were found.

    Args:
        name: of the file or folder.
        found: the weights.
    """
    if found.rivals:
        others = ", ".join(repr(rival) for rival in found.rivals)
        return (f"{name}: weights read from {found.place!r}; {others} holds others, which were left out.",)
    return (f"{name}: weights read from {found.place!r}.",) if found.place else ()


def _notes(container: TorchContainer, found: Found[PickledTensor]) -> tuple[str, ...]:
    """Say by which rule the weights were found, and what was not run."""
    name, notes = container.file.name, list(note_on_place(container.file.name, found))
    if found.module:
        notes.append(f"{name}: a whole module ({found.module}), read through its parameters; its code was not run.")
    if container.foreign:
        first = ", ".join(container.foreign[:_MOST_NAMED])
        more = f" and {len(container.foreign) - _MOST_NAMED} more" if len(container.foreign) > _MOST_NAMED else ""
        notes.append(f"{name}: names classes or functions that were neither imported nor called: {first}{more}.")
    return tuple(notes)
