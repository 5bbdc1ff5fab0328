"""GGUF files (llama.cpp), single or split, decoded row by row."""

from dataclasses import replace
from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.gguf_header import GgufHeader, GgufTensor, read_gguf_header
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_integrations.checkpoints.gguf_split import check_split
from alpha_integrations.checkpoints.gguf_tensors import EMBEDDING, HEAD, GgufModel
from alpha_integrations.checkpoints.gguf_types import check_places

# Files that are GGUF but hold no model: architecture or type -> what it is, and what to do.
_NO_MODEL = {
    "adapter": "a LoRA adapter. Merge it into its model (llama-export-lora) and name the result",
    "imatrix": "an importance matrix, which holds sums of activations. Name the model",
    "controlvector": "a control vector. Name the model",
}


def read_gguf(files: list[Path]) -> Checkpoint:
    """List the tensors of a GGUF model, of one file or split.

    A quantized tensor is dequantized when read, so "fp32" is then the dequantized value; `stored_dtype` keeps the
    file's own type (Q4_1, ...). Rows of Llama q and k are permuted in GGUF, which leaves singular values alone.

    Raises:
        MissingExtraError: the package gguf is not installed.
        CheckpointError: damaged, no model, or an incomplete set of files.
    """
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"{files[0].name}: reading GGUF", "gguf") from error
    headers = [read_gguf_header(file) for file in files]
    check_split(headers)
    about = headers[0].fields
    for key in ("general.type", "general.architecture"):
        if what := _NO_MODEL.get(str(about.get(key))):
            raise CheckpointError(f"{files[0]}: expected a model, got {what}.")
    model = GgufModel(about, _places(headers))
    tensors = model.tensors()
    aliases = {}
    if model.has_tied_head():
        aliases[HEAD] = EMBEDDING
        tensors.append(replace(next(t for t in tensors if t.name == EMBEDDING), name=HEAD))
    return Checkpoint("", tuple(tensors), _config(model), tuple(files), aliases)


def _places(headers: list[GgufHeader]) -> dict[str, tuple[GgufHeader, GgufTensor]]:
    places = dict[str, tuple[GgufHeader, GgufTensor]]()
    for header in headers:
        check_places(header)
        for tensor in header.tensors:
            if tensor.name in places:
                other = places[tensor.name][0].file.name
                raise CheckpointError(
                    f"{header.file}: expected each tensor once, got {tensor.name!r} here and in {other}."
                )
            places[tensor.name] = header, tensor
    return places


def _config(model: GgufModel) -> dict[str, object]:
    """Return what stands for config.json: it decides how tensors are split, so a fingerprint must see it."""
    own = {key: value for key, value in model.about.items() if key.startswith(f"{model.architecture}.")}
    return {"model_type": "gguf", "architectures": [], "gguf": own}
