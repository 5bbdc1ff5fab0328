"""Layer names of a plan -> tensors of a GGUF file and their types."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.export_plan import refuse
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_callbacks.weights.layer_names import block_index
from alpha_integrations.quantizers.plan_modules import encoding_of

_TARGET = "gguf"
_WIDE: dict[torch.dtype | None, str] = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
MXFP4 = Encoding("e2m1", 4, "group", 32, scale="floor")  # has the scales of ggml's MXFP4; ties differ
TIES = "mxfp4: ggml rounds ties towards zero; mxfp4_floor was measured with ties to even, gguf_mxfp4 as ggml does."
_PART = re.compile(r"\.(attn_qkv|ffn_up|ffn_gate_up_exps)\.(q|k|v|gate|up)$")  # a scan names what is fused in a tensor,
_EXPERT = re.compile(r"^(blk\.\d+)\.\d+\.(ffn_\w+exps)$")  # and each expert of a stacked one
_HOLDS = (
    "gguf_q8_0, gguf_q5_1, gguf_q5_0, gguf_q4_1, gguf_q4_0, gguf_mxfp4, mxfp4_floor, fp16, bf16, fp32. int8 and int4 "
    "are other numbers than Q8_0 and Q4_0: scan with --precisions gguf:q8_0,gguf:q4_0"
)


@dataclass(frozen=True)
class TensorType:
    """The type that a plan gives to one tensor.

    Attributes:
        kind: ggml type, in lower case ("q4_0").
        choice: the first choice that asks for it.
    """

    kind: str
    choice: Choice


def tensor_types(plan: Plan) -> dict[str, TensorType]:
    """Return tensor name -> type, in the order of the plan.

    Names of a GGUF file are taken as they are, module paths are those of the Llama family. A language head that shares
    the embedding's tensor names that one.

    Raises:
        PlanError: no ggml type holds a choice, a name is unknown, or experts of one tensor differ.
        MissingExtraError: the plan has module paths and the package gguf is not installed.
    """
    modules = plan.modules()
    refuse(_TARGET, [choice for choice in modules.values() if _kind(choice) is None], _HOLDS)
    rename = _renamer(plan.choices)
    found: dict[str, TensorType] = {}
    for name, choice in modules.items():
        kind, tensor = _kind(choice) or "", rename(choice.tied_to or name)
        if choice.low_bit and choice.tied_to:
            raise PlanError(
                f"{_TARGET}: expected 16 bits for {name}, which shares its storage with {choice.tied_to}, got "
                f"{choice.precision}. Keep it at bf16."
            )
        block = encoding_of(choice, _TARGET).size if choice.low_bit else 1
        if choice.in_features % block:
            raise PlanError(
                f"{_TARGET}: expected in_features that is a multiple of {block} for {choice.precision}, got "
                f"{choice.in_features} for {name}. Keep it at bf16."
            )
        first = found.setdefault(tensor, TensorType(kind, choice))
        if first.kind != kind:
            raise PlanError(
                f"{tensor}: expected one type for all that it holds, got {first.choice.precision} for "
                f"{first.choice.layer_name} and {choice.precision} for {name}. Give all of them the same."
            )
    return found


def _kind(choice: Choice) -> str | None:
    if not choice.low_bit:
        return _WIDE.get(choice.format.dtype)
    encoding = encoding_of(choice, _TARGET)
    if encoding == MXFP4:
        return "mxfp4"
    return encoding.element if encoding.scale == "ggml" else None


def _renamer(choices: Iterable[Choice]) -> Callable[[str], str]:
    names = [choice.layer_name for choice in choices]
    if any(name.startswith("blk.") for name in names):
        return lambda name: _EXPERT.sub(r"\1.\2", _PART.sub(r".\1", name)) + ".weight"
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"{_TARGET}: names of GGUF tensors", "gguf") from error
    blocks = max((block_index(name) or 0 for name in names), default=0) + 1
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, blocks)

    def rename(name: str) -> str:
        tensor = known.get_name(f"{name}.weight", try_suffixes=(".weight",))
        if tensor is None:
            raise PlanError(
                f"{_TARGET}: expected a module of the Llama family, got {name}. Convert the model and scan the "
                ".gguf file."
            )
        return str(tensor)

    return rename
