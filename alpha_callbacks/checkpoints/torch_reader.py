"""Files of torch.save (.bin, .pt, .pth, Lightning .ckpt), loaded without running any code from them."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.stored_tensor import StoredTensor

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # Lightning, plain recipes, DeepSpeed


def read_torch_files(files: list[Path]) -> Checkpoint:
    """Map the files into memory and list their tensors.

    Raises:
        CheckpointError: damaged, needs code to load, or holds no tensors.
    """
    tensors: list[StoredTensor] = []
    aliases: dict[str, str] = {}
    owners: dict[tuple[int, tuple[int, ...]], str] = {}
    for file in files:
        for name, tensor in _state_dict(file).items():
            if tensor.layout is torch.strided and tensor.numel():
                key = (tensor.data_ptr(), tuple(tensor.shape))
                if owners.setdefault(key, name) != name:
                    aliases[name] = owners[key]
            tensors.append(_stored(name, tensor))
    return Checkpoint("", tuple(tensors), {}, tuple(files), aliases)


def _state_dict(file: Path) -> dict[str, Tensor]:
    content: Any = _load(file)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file}: expected a dict of tensors, got {type(content).__name__}. Save model.state_dict()."
        )
    found = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise CheckpointError(f"{file}: expected a dict of tensors, found none in it. Save model.state_dict().")
    return found


def _load(file: Path) -> Any:
    """Load with mmap, or whole for files older than torch 1.6."""
    for mmap in (True, False):
        try:
            return torch.load(file, map_location="cpu", mmap=mmap, weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{file}: expected tensors only, but loading it would run code from the file. "
                f"Save model.state_dict() with safetensors instead. ({str(error).splitlines()[0]})"
            ) from error
        except Exception as error:  # torch's own unpickler lets through whatever a damaged file makes it raise
            if not mmap or "zip" not in str(error).lower() and "mmap" not in str(error).lower():
                found = str(error).splitlines()[0] if str(error) else f"a damaged one ({type(error).__name__})"
                raise CheckpointError(f"{file}: expected a whole file of torch.save, got {found}.") from error
    raise AssertionError("unreachable")


def _stored(name: str, tensor: Tensor) -> StoredTensor:
    numeric = tensor.is_floating_point()
    return StoredTensor(
        name,
        tuple(tensor.shape),
        tensor.dtype if numeric else None,
        str(tensor.dtype).removeprefix("torch."),
        partial(_rows, tensor),
        packed="" if tensor.layout is torch.strided else f"stored as {tensor.layout}, which has no rows to read",
    )


def _rows(tensor: Tensor, start: int, stop: int) -> Tensor:
    return tensor[start:stop] if tensor.ndim else tensor
