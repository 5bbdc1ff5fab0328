"""A checkpoint that was written from a model, as a model to judge beside it: by `quantize`, or by anyone else."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.evaluation.causal_model import ROPE_FACTORS, CausalModel
from alpha_callbacks.evaluation.language_model import LanguageModel
from alpha_callbacks.evaluation.same_config import different
from alpha_callbacks.evaluation.same_tokens import require_same_tokens
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import BLOCK_ELEMENTS, spans

_log = own_logger(__name__)


def written_model(source: str | Path, of: LanguageModel) -> Callable[[], nn.Module]:
    """Check a checkpoint against the model that it was made from, and return what loads it.

    Codes are decoded by our readers (GGUF: by transformers) and put into a model of the checkpoint's own config, with
    plain floats in the dtype and on the device of the other. Activations are not quantized.

    Args:
        source: a folder in Hugging Face form, a model id on the hub, or a .gguf file.
        of: the model that it is compared with.

    Returns:
        A function that loads it anew whenever it is called, so that nothing holds it between two calls.

    Raises:
        MissingExtraError: transformers (or gguf, for such a file) is not installed.
        CheckpointError: no causal language model, other parameters or tokens than those of the model, or codes that no
            reader decodes. The function raises it for weights that are missing.
    """
    found = CausalModel.of(source)
    with found.loading():
        config = found.config()
        config.quantization_config = None
        del config.quantization_config
        with torch.device("meta"):
            empty = found.library.AutoModelForCausalLM.from_config(config)
    _require_same_parameters(found, empty, of)
    require_same_tokens(found, of)
    _note_other_config(found, config, of)
    _require_decoded(found, found.checkpoint.decoded())
    first = next(of.model.parameters())
    family, dtype, device = type(empty), first.dtype, str(first.device)

    def load() -> nn.Module:
        options: dict[str, Any] = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
        with found.loading():
            if found.gguf_file:
                model, info = family.from_pretrained(found.folder, **options, **found.options)
            else:
                values = _values(found.checkpoint)
                model, info = family.from_pretrained(None, config=config, state_dict=values, **options)
        return found.ready(model, info, device)

    return load


def _require_same_parameters(found: CausalModel, empty: nn.Module, of: LanguageModel) -> None:
    """Refuse a checkpoint of another model; both are named.

    Args:
        found: the checkpoint.
        empty: the model of its config, without weights.
        of: the model.
    """
    theirs, ours = _shapes(empty), _shapes(of.model)
    name = next((name for name in (*ours, *theirs) if theirs.get(name) != ours.get(name)), None)
    if name is None:
        return
    kinds = [type(model).__name__ for model in (empty, of.model)]
    raise CheckpointError(
        f"{found.source} ({kinds[0]}): expected the parameters of {of.source} ({kinds[1]}), got others: {name} is "
        f"{_shown(ours.get(name))} in the model and {_shown(theirs.get(name))} in the checkpoint. "
        "Compare a model with checkpoints that were made from it."
    )


def _note_other_config(found: CausalModel, config: Any, of: LanguageModel) -> None:
    """Say where the checkpoint computes otherwise than the model: that is no matter of its weights."""
    odd = different(of.model.config, config)
    if any(tensor.name == ROPE_FACTORS for tensor in found.checkpoint.tensors):
        odd.pop("rope_parameters", None)  # the factors in the file are what it says in their place
    if odd:
        said = "; ".join(
            f"{name} is {ours} in the model and {theirs} in the checkpoint" for name, (ours, theirs) in odd.items()
        )
        _log.warning(
            "%s computes by another config than %s, so its KL is not of the weights alone: %s.",
            found.source,
            of.source,
            said,
        )


def _shapes(model: nn.Module) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"


def _require_decoded(found: CausalModel, tensors: list[StoredTensor]) -> None:
    about = found.checkpoint.config.get("quantization_config")
    turned = about.get("transform_config") if isinstance(about, Mapping) else None
    if isinstance(turned, Mapping) and turned.get("config_groups"):
        raise CheckpointError(
            f"{found.source}: expected weights that are multiplied with the inputs as they come, got ones that "
            "belong to turned inputs (transform_config), which nobody turns here."
        )
    codes = [t for t in tensors if t.packed or t.dtype is None and not t.companion and t.name.endswith("weight")]
    if codes:
        why = codes[0].packed or f"stored as {codes[0].stored_dtype} codes without scales."
        raise CheckpointError(
            f"{found.source}: expected weights that can be decoded, got {len(codes)} tensors that cannot, e.g. "
            f"{layer_name_of(codes[0].name)}: {why}"
        )


def _values(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return parameter name in the files -> values, without what codes were decoded with."""
    return {
        tensor.name: _read(tensor)
        for tensor in checkpoint.decoded()
        if not tensor.companion and tensor.dtype is not None
    }


def _read(tensor: StoredTensor) -> Tensor:
    """Return all of a tensor, read some rows at a time: decoding takes several times the memory of what it returns."""
    rows = tensor.shape[0] if tensor.shape else 1
    if tensor.numel <= BLOCK_ELEMENTS:
        return tensor.read(0, rows)
    values = torch.empty(tensor.shape, dtype=tensor.dtype)
    for start, stop in spans(rows, tensor.numel // rows):
        values[start:stop] = tensor.read(start, stop)
    return values
