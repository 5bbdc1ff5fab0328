"""Names of the tensors of an adapter -> module and role, as PEFT, kohya, diffusers, MLX and llama.cpp spell them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from alpha_callbacks.weights.categorize import SEGMENTS
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor

# What a segment of a name says of its tensor, in PEFT's words. Two segments are joined by a dot.
_ROLES = {
    **{
        role: role
        for role in (
            "lora_A", "lora_B", "lora_E", "lora_mid", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
            "lora_diag", "lora_a", "lora_b", "dora_scale", "vera_lambda_b", "vera_lambda_d", "hada_w1_a", "hada_w1_b",
            "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2",
            "lokr_w2_a", "lokr_w2_b", "lokr_t2", "ia3_l", "oft_R", "oft_r", "oft_embedding_R", "oft_blocks", "oft_diag",
            "boft_R", "boft_s",
        )
    },
    **dict.fromkeys(("lora_down", "lora.down", "lora_linear_layer.down"), "lora_A"),
    **dict.fromkeys(("lora_up", "lora.up", "lora_linear_layer.up"), "lora_B"),
}  # fmt: skip
_PROCESSOR = re.compile(r"^(?P<parent>.+)\.processor\.(?P<module>\w+?)_lora(?P<stream>\d?)\.(?P<side>down|up)\.weight$")
_STREAMS = {"": "", "1": "img_attn.", "2": "txt_attn."}  # of Flux, as XLabs numbers them
_NEMO = re.compile(r"^(?P<parent>.+)\.adapter_layer\.(?P<module>\w*lora\w*)\.(?P<side>linear_in|linear_out)\.weight$")
_BESIDE = {"alpha": "alpha", "m": "lora_magnitude_vector"}  # beside factors they belong to these
_FLAT = re.compile(r"^(lora|lycoris)_")
_PREFIXES = {
    "lora_unet_": "unet.", "lora_te_": "text_encoder.", "lora_te1_": "text_encoder.", "lora_te2_": "text_encoder_2.",
    "lora_te3_": "text_encoder_3.", "lora_transformer_": "transformer.", "lora_prior_te_": "text_encoder.",
    "lora_prior_unet_": "prior.", "lycoris_": "",
}  # fmt: skip
# Segments with an underscore in them, beside those that decide a category: flat names write the dots as underscores.
_COMPOUND = {
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "single_transformer_blocks", "input_blocks",
    "middle_block", "output_blocks", "double_blocks", "single_blocks", "joint_blocks", "proj_in", "proj_out",
    "text_model", "self_attn", "cross_attn", "encoder_attn", "img_attn", "txt_attn", "img_mlp", "txt_mlp", "img_mod",
    "txt_mod", "context_block", "x_block", "time_embed", "label_emb", "emb_layers", "in_layers", "out_layers",
    "skip_connection", "conv_in", "conv_out", "conv_shortcut", "time_emb_proj", "time_embedding", "add_embedding",
    "linear_1", "linear_2", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "ff_context", "to_qkv",
    "final_layer", "linear1", "linear2", "norm_out", "context_embedder", "x_embedder", "time_text_embed",
    "guidance_in", "time_in", "txt_in", "img_in", "vector_in", "adaLN_modulation", "k_img", "v_img", "text_projection",
}  # fmt: skip


@dataclass
class Group:
    """The tensors of an adapter for one module.

    Attributes:
        module: path of the module, as the adapter spells it.
        roles: what a tensor is in PEFT's words ("lora_A"), or "alpha" -> that tensor.
        flat: the path was written with underscores between its segments; `module` is the likeliest reading.
    """

    module: str
    roles: dict[str, StoredTensor] = field(default_factory=dict)
    flat: str = ""


@dataclass(frozen=True)
class Place:
    """Where a tensor of an adapter belongs.

    Attributes:
        module: path of the module, with underscores between its segments in flat names.
        role: in PEFT's words.
        adapter: name of the adapter in the tensor's name ("default"), or "".
    """

    module: str
    role: str
    adapter: str = ""


@lru_cache(2**16)
def place_of(name: str, prefix: str = "") -> Place | None:
    """Return the module and role of a factor, or None for a tensor that is no part of an adapter.

    Args:
        name: of the tensor.
        prefix: what the roles of the adapter's method begin with, where its config names one.

    Examples:
        >>> place_of("base_model.model.layers.0.mlp.up_proj.lora_A.weight")
        Place(module='layers.0.mlp.up_proj', role='lora_A', adapter='')
        >>> place_of("unet.mid_block.attn1.processor.to_q_lora.up.weight").module
        'unet.mid_block.attn1.to_q'
    """
    name = clean_name(name)
    if found := _PROCESSOR.match(name):
        module = _STREAMS.get(found["stream"], "") + found["module"].replace("to_out", "to_out.0")
        return Place(f"{found['parent']}.{module}", {"down": "lora_A", "up": "lora_B"}[found["side"]])
    if found := _NEMO.match(name):  # whose scale is in a config of another kind
        return Place(f"{found['parent']}.{found['module']}", f"lora_{found['side']}")
    path = name.split(".")
    last = path.pop() if path[-1] in ("weight", "bias") and len(path) > 1 else ""
    for adapter in (0, 1):  # segments after the role: PEFT's name of the adapter, in files of a live model's state
        for width in (2, 1):
            start, stop = len(path) - width - adapter, len(path) - adapter
            role = ".".join(path[start:stop]) if start >= 0 else ""
            if role in _ROLES or prefix and width == 1 and role.startswith(prefix):
                module = ".".join(path[:start])
                role = _ROLES.get(role, role)
                if module.endswith(".weight"):  # llama.cpp: small letters, but PEFT's shapes
                    module, role = module.removesuffix(".weight"), role.replace("_a", "_A").replace("_b", "_B")
                return Place(module, role + ".bias" * (last == "bias"), ".".join(path[stop:]))
    flat, _, rest = name.partition(".")
    if rest and flat.startswith(tuple(_PREFIXES)):  # nothing else has such names
        return Place(flat, rest.removesuffix(".weight"))
    return None


def groups_of(tensors: Iterable[StoredTensor], prefix: str = "") -> dict[str, Group]:
    """Return module -> its tensors, in their order, with the `alpha` and the whole differences beside them."""
    groups: dict[str, Group] = {}
    listed = list(tensors)
    for tensor in listed:
        place = place_of(tensor.name, prefix)
        if place is not None:
            groups.setdefault(place.module, _group(place.module)).roles[place.role] = tensor
    for tensor in listed:
        module, _, last = clean_name(tensor.name).rpartition(".")
        if last in _BESIDE and module in groups:
            groups[module].roles[_BESIDE[last]] = tensor
    return groups


def _group(module: str) -> Group:
    return Group(unflattened(module), flat=module) if _FLAT.match(module) and "." not in module else Group(module)


def unflattened(module: str) -> str:
    """Return the likeliest path of a module whose name has underscores in place of dots.

    Examples:
        >>> unflattened("lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q")
        'unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q'
        >>> unflattened("lora_te1_text_model_encoder_layers_3_self_attn_q_proj")
        'text_encoder.text_model.encoder.layers.3.self_attn.q_proj'
    """
    prefix = next((p for p in _PREFIXES if module.startswith(p)), "")
    parts, path = module.removeprefix(prefix).split("_"), []
    while parts:
        widths = range(min(4, len(parts)), 1, -1)
        known = (n for names in (_COMPOUND, SEGMENTS) for n in widths if "_".join(parts[:n]) in names)
        longest = next(known, 1)
        path.append("_".join(parts[:longest]))
        del parts[:longest]
    return _PREFIXES.get(prefix, "") + ".".join(path)


def flattened(path: str) -> str:
    """Return a path as flat names have it, to compare two."""
    return path.replace(".", "_")
