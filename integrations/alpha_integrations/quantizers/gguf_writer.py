"""A GGUF file with the types of a plan, made from another GGUF file; llama.cpp runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import Rounding, refused
from alpha_integrations import ggml_rounding
from alpha_integrations.quantizers.gguf_file import SourceTensor, before_weights, metadata, padding, read_source
from alpha_integrations.quantizers.gguf_importance import importance_matrix
from alpha_integrations.quantizers.gguf_names import MXFP4, TIES, TensorType, tensor_types
from alpha_integrations.quantizers.model_folder import whole_folder

_TARGET = _EXTRA = "gguf"
_NAME = "model.gguf"
_FLOATS = ("F32", "F16", "BF16")


def write(model: Path, plan: Plan, output_dir: Path, rounding: Rounding | None = None) -> tuple[str, ...]:
    """Copy a GGUF file, the plan's tensors in the plan's types and the others as they are.

    Args:
        model: .gguf file, or a folder with a single one.
        plan: with the file's tensors as layer names (blk.0.ffn_up), as a scan of it gives.
        output_dir: a new or empty folder, for model.gguf.
        rounding: by an importance matrix, or None.

    Raises:
        PlanError: not such a file, a plan of another model, a choice that no ggml type holds, or a text or model that
            gives no importance matrix.
        MissingExtraError: the package gguf, or ggml's library, is not installed.
    """
    if rounding is not None and rounding.method != "imatrix":
        raise refused(_TARGET, rounding, "has nearest and imatrix")
    wanted = tensor_types(plan)
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"{_TARGET}: writing a file", _EXTRA) from error
    with whole_folder(output_dir) as folder:
        file = _single_file(model)
        header, tensors = read_source(file)
        _check(wanted, tensors)
        kinds = {name: _kind(tensor, wanted.get(name)) for name, tensor in tensors.items()}
        matrix, notes = dict[str, Any](), tuple[str, ...]()
        if rounding is not None:
            matrix, notes = importance_matrix(file, plan, rounding)
        lost = dict[str, int]()
        with (folder / _NAME).open("wb") as out:
            out.write(before_weights(metadata(header), [(tensors[name].place, kind) for name, kind in kinds.items()]))
            for name, kind in kinds.items():  # one at a time, so that memory is one tensor
                data, lost[name] = _data(tensors[name], kind, matrix.get(name))
                out.write(data)
                out.write(padding(data.nbytes))
    return (*notes, *_notes(wanted, tensors, {name: count for name, count in lost.items() if count}))


def _kind(tensor: SourceTensor, found: TensorType | None) -> Any:
    import gguf

    return gguf.GGMLQuantizationType[found.kind.upper()] if found else tensor.kind


def _data(tensor: SourceTensor, kind: Any, importance: Any) -> tuple[Any, int]:
    """Return the bytes of a tensor in a type, shape (..., bytes of a row), and how many weights too small scales lose.

    Raises:
        PlanError: values that the type cannot hold by far.
    """
    import gguf

    if kind == tensor.kind:
        return tensor.data(), 0
    values = gguf.dequantize(tensor.data(), tensor.kind)
    if importance is None and kind.name.lower() not in ggml_rounding.CODE_BITS:
        with np.errstate(over="ignore", invalid="ignore"):
            data = gguf.quantize(values, kind).view(np.uint8)
    else:
        rows = values.reshape(-1, values.shape[-1])
        if not ggml_rounding.holds(rows).all():
            raise PlanError(
                f"{tensor.place.name}: expected finite weights below 1e10 for {kind.name}, got others. Keep it at bf16."
            )
        data = ggml_rounding.rounded(rows, kind, importance).reshape(*values.shape[:-1], -1)
    with np.errstate(over="ignore", invalid="ignore"):
        decoded = gguf.dequantize(data, kind)
    held = bool(np.isfinite(decoded).all())
    if not held and (kind.name not in _FLOATS or np.isfinite(values).all()):
        raise PlanError(
            f"{tensor.place.name}: expected weights that {kind.name} holds, with scales in fp16, got up to "
            f"{np.abs(values).max():.3g}, which becomes inf or nan. Keep it at bf16."
        )
    block = gguf.GGML_QUANT_SIZES[kind][0]
    empty = ~decoded.reshape(-1, block).any(axis=1)  # a 0 beside others that are none is rounding as ever
    lost = int(np.count_nonzero(values.reshape(-1, block)[empty])) if empty.any() else 0
    return np.ascontiguousarray(data), lost


def _single_file(model: Path) -> Path:
    files = sorted(model.glob("*.gguf")) if model.is_dir() else [model]
    if len(files) > 1:
        raise PlanError(
            f"{model}: expected one .gguf file, got {len(files)}. Merge splits with `llama-gguf-split --merge`, or "
            "name one of the files."
        )
    if not files or files[0].suffix.lower() != ".gguf":
        raise PlanError(
            f"{model}: expected a .gguf file, got none. Make one with llama.cpp, `python convert_hf_to_gguf.py {model} "
            "--outtype bf16 --outfile model.gguf`, and plan for that: `alpha-hill scan model.gguf -p "
            "bf16,gguf:q8_0,gguf:q4_0`. Or give llama-quantize a plan: `alpha-hill export PLAN --format gguf -o FILE`."
        )
    return files[0]


def _check(wanted: Mapping[str, TensorType], tensors: Mapping[str, SourceTensor]) -> None:
    absent = [name for name in wanted if name not in tensors]
    if absent:
        raise PlanError(
            f"{absent[0]}: expected a tensor of the file, found none of this name ({len(absent)} tensors). "
            "Make the plan from a scan of this file."
        )
    for name, found in wanted.items():
        columns, planned = tensors[name].place.shape[-1], found.choice.in_features
        if columns != planned:
            raise PlanError(
                f"{name}: expected {planned} columns as in the plan, got {columns}. "
                "Make the plan from a scan of this file."
            )


def _notes(
    wanted: Mapping[str, TensorType], tensors: Mapping[str, SourceTensor], lost: Mapping[str, int]
) -> tuple[str, ...]:
    notes = []
    if lost:
        notes.append(
            f"{sum(lost.values()):,} weights of {len(lost)} tensors are so small that they became 0 in the file, with "
            f"all that share their scale, e.g. of {next(iter(lost))}."
        )
    kinds = {str(tensors[name].kind.name) for name in wanted}
    if quantized := sorted(kinds.difference(_FLOATS)):
        notes.append(
            f"The source held {', '.join(quantized)}: that quantization error stays, even in tensors now stored with "
            "16 bits."
        )
    if any(found.choice.format.encoding == MXFP4 for found in wanted.values()):
        notes.append(TIES)
    return tuple(notes)
