"""Layer names of a plan -> tensors of a GGUF file and their types."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.export_plan import refuse
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_callbacks.weights.layer_names import block_index
from alpha_integrations.quantizers.plan_modules import encoding_of

_TARGET = "gguf"
_WIDE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
MXFP4 = Encoding("e2m1", 4, "group", 32, scale="floor")  # has the scales of ggml's MXFP4; ties differ
TIES = "mxfp4: ggml rounds ties towards zero; mxfp4_floor was measured with ties to even, gguf_mxfp4 as ggml does."
_PART = re.compile(r"\.(attn_qkv|ffn_up|ffn_gate_up_exps)\.(q|k|v|gate|up)$")  # a scan names what is fused in a tensor,
_EXPERT_TENSOR = re.compile(r"^(blk\.\d+)\.\d+\.(ffn_\w+exps)$")  # and each expert of a stacked one
_EXPERT = re.compile(r"\.experts\.\d+\.")
_LANGUAGE = re.compile(r"^(?:(model\.)?language_model\.(model\.)?)")
_OTHER_MODALITY = re.compile(r"(^|\.)(vision|visual|audio|multi_modal|mm_|image)\w*\.")  # a file of its own (mmproj)
_SPLIT = (".attn_kv_b.", (".attn_k_b.", ".attn_v_b."))  # what the converter makes of latent attention
_HOLDS = (
    "gguf_q8_0, gguf_q5_1, gguf_q5_0, gguf_q4_1, gguf_q4_0, K-quants (gguf_q4_k, ...), gguf_iq4_nl, gguf_iq4_xs, "
    "gguf_iq3_s, gguf_iq3_xxs, gguf_mxfp4, mxfp4_floor, fp16, bf16, fp32. int8 and int4 are other numbers than Q8_0 "
    "and Q4_0: scan with --precisions gguf:q8_0,gguf:q4_0"
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

    Names of a GGUF file are taken as they are, module paths become those that llama.cpp's converter gives them. A
    language head that shares the embedding's tensor names that one. Layers of a vision or audio model are left out,
    because their tensors are in a file of their own.

    Raises:
        PlanError: no ggml type holds a choice, a name is unknown, or experts of one tensor differ.
        MissingExtraError: the plan has module paths and the package gguf is not installed.
    """
    modules = plan.modules()
    refuse(_TARGET, [choice for choice in modules.values() if _kind(choice) is None], _HOLDS)
    rename = renamer(list(dict.fromkeys(choice.tied_to or name for name, choice in modules.items())))
    found: dict[str, TensorType] = {}
    for name, choice in modules.items():
        kind, tensor = _kind(choice) or "", rename(choice.tied_to or name)
        if not tensor:
            continue
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
        for each in _converted(tensor):
            first = found.setdefault(each, TensorType(kind, choice))
            if first.kind != kind:
                raise PlanError(
                    f"{each}: expected one type for all that it holds, got {first.choice.precision} for "
                    f"{first.choice.layer_name} and {choice.precision} for {name}. Give all of them the same."
                )
    return found


def left_out(plan: Plan) -> list[str]:
    """Return the low-bit modules that are of a vision or audio model, which GGUF keeps in another file."""
    return [name for name, choice in plan.modules().items() if choice.low_bit and not _text_name(name)]


def _converted(tensor: str) -> tuple[str, ...]:
    whole, parts = _SPLIT
    return (tensor, *(tensor.replace(whole, part) for part in parts)) if whole in tensor else (tensor,)


def _kind(choice: Choice) -> str | None:
    if not choice.low_bit:
        return _WIDE.get(choice.format.torch_name)
    encoding = encoding_of(choice, _TARGET)
    if encoding == MXFP4:
        return "mxfp4"
    return encoding.element if encoding.scale == "ggml" else None


def renamer(names: Sequence[str]) -> Callable[[str], str]:
    """Return the function from module paths of a plan to tensors of a GGUF file; "" for those of another file.

    Raises:
        PlanError: no architecture of llama.cpp has all of these modules.
        MissingExtraError: the names are module paths and the package gguf is not installed.
    """
    if any(name.startswith("blk.") for name in names):
        return lambda name: _EXPERT_TENSOR.sub(r"\1.\2", _PART.sub(r".\1", name)) + ".weight"
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"{_TARGET}: names of GGUF tensors", "gguf") from error
    blocks = max((block_index(name) or 0 for name in names), default=0) + 1
    inside = {name: _text_name(name) for name in names}
    texts = {text for text in inside.values() if text}
    found: dict[str, str] = {}
    for architecture in gguf.MODEL_ARCH:
        if "RWKV" in architecture.name:  # Qwen turned into an RWKV: the same modules, other tensors
            continue
        known = _name_map(architecture, blocks)
        tensors = {text: known.get_name(f"{text}.weight", try_suffixes=(".weight",)) for text in texts}
        if all(tensors.values()):
            if found and tensors != found:
                odd = next(text for text in texts if tensors[text] != found[text])
                raise PlanError(
                    f"{_TARGET}: {odd} is {found[odd]} or {tensors[odd]}. Convert the model and scan the result."
                )
            found = {text: str(tensor) for text, tensor in tensors.items()}
    if not found or not texts:
        raise PlanError(
            f"{_TARGET}: expected modules that one architecture of llama.cpp has, got {len(texts)} (e.g. {names[0]}) "
            "that none has. Convert the model and scan the .gguf file."
        )
    return lambda name: found.get(inside[name], "")


def _name_map(architecture: Any, blocks: int) -> Any:
    """Return gguf's map of one architecture, which would leave its own entries behind in the maps of all later ones."""
    import gguf

    shared = gguf.TensorNameMap.block_mappings_cfg
    kept = dict(shared)
    try:
        return gguf.get_tensor_name_map(architecture, blocks)
    finally:
        shared.clear()
        shared.update(kept)


def _text_name(name: str) -> str:
    """Return what a module is called in a language model alone, experts as one; "" for vision and audio.

    Examples:
        >>> _text_name("model.language_model.layers.0.mlp.up_proj"), _text_name("language_model.lm_head")
        ('model.layers.0.mlp.up_proj', 'lm_head')
        >>> _text_name("model.layers.0.block_sparse_moe.experts.3.w1"), _text_name("vision_tower.layers.0.fc1")
        ('model.layers.0.block_sparse_moe.experts.w1', '')
    """
    if _OTHER_MODALITY.search(name):
        return ""
    return _EXPERT.sub(".experts.", _LANGUAGE.sub(lambda match: "model." if match[1] or match[2] else "", name))
