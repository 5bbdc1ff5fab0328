"""GGUF files (llama.cpp), dequantized tensor by tensor to fp32."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.weights.stored_tensor import StoredTensor

_CAUSAL = (
    "llama",
    "qwen",
    "gemma",
    "phi",
    "mistral",
    "mixtral",
    "falcon",
    "gpt",
    "starcoder",
    "olmo",
    "deepseek",
    "glm",
)


def read_gguf(files: list[Path]) -> Checkpoint:
    """List the tensors of GGUF files.

    A quantized tensor is dequantized when read, so "fp32" is then the dequantized value; `stored_dtype` keeps the
    file's own type (Q4_1, ...). Rows of Llama q and k are permuted in GGUF, which leaves singular values alone.

    Raises:
        MissingExtraError: the package gguf is not installed.
        CheckpointError: damaged, or a type that gguf cannot dequantize.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"{files[0].name}: reading GGUF", "gguf") from error
    tensors: list[StoredTensor] = []
    config: dict[str, Any] = {}
    for file in files:
        try:
            reader = gguf.GGUFReader(str(file))
        except (ValueError, OSError, IndexError, KeyError) as error:
            raise CheckpointError(f"{file}: expected a whole GGUF file, got {error}.") from error
        config.update(_config(reader))
        tensors += [_stored(tensor) for tensor in reader.tensors]
    return Checkpoint("", tuple(tensors), config, tuple(files))


def _config(reader: Any) -> dict[str, Any]:
    """Return the geometry in the words of config.json."""
    arch = str(_field(reader, "general.architecture") or "")
    names = {
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
    }
    found = {name: _field(reader, f"{arch}.{key}") for name, key in names.items()}
    config = {name: int(value) for name, value in found.items() if isinstance(value, int | np.integer)}
    causal = arch.startswith(_CAUSAL)
    # The converter concatenates q, k, v and transposes, whatever the family: model_type must not say otherwise.
    return {"model_type": "gguf", "architectures": ["GGUFForCausalLM"] if causal else [], **config}


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _stored(tensor: Any) -> StoredTensor:
    shape = tuple(int(size) for size in reversed(tensor.shape))  # GGUF lists the fastest dimension first
    return StoredTensor(
        name=str(tensor.name),
        shape=shape,
        dtype=torch.float32,
        stored_dtype=str(tensor.tensor_type.name),
        read=partial(_rows, tensor.data, tensor.tensor_type),
    )


def _rows(data: Any, kind: Any, start: int, stop: int) -> Tensor:
    import gguf

    return torch.from_numpy(np.array(gguf.dequantize(data[start:stop], kind), dtype=np.float32))
