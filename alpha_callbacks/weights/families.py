"""What is known of families of models, as data: how each stores its matrices where that is not one nn.Linear apiece.

A record is read from the code that multiplies the weights, which it names. A family that is not here is left as its
shapes and names have it: a wrong split is worse than none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeGuard

from alpha_callbacks.weights.categories import TABLES_OF_TRANSFORMERS

Qkv = Literal["", "concatenated", "grouped", "falcon", "bigcode"]
Form = Literal[
    "out_in",  # as nn.Linear has it
    "in_out",  # transposed, as HF's Conv1D has it
    "experts_out_in",  # (matrices, out, in)
    "experts_in_out",  # (matrices, in, out)
    "rows_out_in",  # (matrices * out, in): the matrices of a 2-D stack stand one above the other
    "rows_in_out",  # (matrices * in, out)
    "in_heads",  # (in, heads, size): multiplied over the first dimension
    "groups_out_in",  # (groups * out, in): each group of inputs has its own matrix, and they stand one above the other
    "out_heads",  # (out, heads, size): multiplied over the last two
    "table",  # rows that are looked up, an embedding
]


@dataclass(frozen=True)
class Known:
    """What one tensor of a family is.

    Attributes:
        form: order of its dimensions.
        category: of the matrix; "" leaves it to the name.
        parts: matrices of the same size fused in it, in the order of their rows ("q", "k", "v").
    """

    form: Form
    category: str = ""
    parts: tuple[str, ...] = ()


TABLE = Known("table", "embedding")


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        source: where it was read: a file of transformers 5.23, or the model's own code.
        qkv: how the rows of a fused q, k, v lie: all q, all k, all v ("concatenated"), or group by group ("grouped").
        alternating: True if rows of gate and up take turns in a stack of experts.
        tensors: end of a layer's path -> what that tensor is.
        experts: where the config has the number of matrices of a 2-D stack, or of groups, as a dotted path.
    """

    source: str
    qkv: Qkv = ""
    alternating: bool = False
    tensors: Mapping[str, Known] = field(default_factory=dict)
    experts: str = ""

    def known(self, layer: str) -> Known | None:
        """Return what is known of a layer, e.g. of "model.layers.0.mlp.experts.down_proj" by "experts.down_proj"."""
        if not self.tensors:
            return None
        path = layer.split(".")
        ends = (".".join(path[-length:]) for length in range(len(path), 0, -1))
        return next((self.tensors[end] for end in ends if end in self.tensors), None)


_STACKS_IN_OUT = {
    "experts.gate_up_proj": Known("experts_in_out"),
    "experts.down_proj": Known("experts_in_out"),
}
_CONV1D = {name: Known("in_out") for name in ("attn.c_attn", "attn.c_proj", "attn.q_attn", "mlp.c_fc", "mlp.c_proj")}
_CONV1D |= {name.replace("attn.", "crossattention."): known for name, known in _CONV1D.items() if "attn." in name}
_CONV1D["crossattention.c_attn"] = Known("in_out", "cross_attn_kv")
_XLNET = {
    "rel_attn.seg_embed": TABLE,
} | {
    f"rel_attn.{name}": Known("out_heads" if name == "o" else "in_heads", category)
    for name, category in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_o"), ("r", "attn_position"))
}


def _fused(**layers: str) -> dict[str, Known]:
    """Return end of a path (with "__" for its dots) -> what is fused in it, as "q k v"."""
    known = {"qkv": "attn_qkv", "gateup": "mlp_gate_up", "upgate": "mlp_gate_up", "gateqkv": "attn_qkv"}
    return {
        name.replace("__", "."): Known("out_in", known[parts.replace(" ", "")], tuple(parts.split()))
        for name, parts in layers.items()
    }


# Files whose fused matrices transformers takes apart when it loads them.
_CONVERTED = "conversion_mapping.py"
_DINOV2 = Family(_CONVERTED, tensors=_fused(mlp__weights_in="gate up"))
_TIPSV2 = Family(_CONVERTED, tensors=_fused(mlp__w12="gate up", attn__qkv="q k v"))
_MOLMO2 = Family(
    _CONVERTED,
    qkv="concatenated",
    tensors={"self_attn.att_proj": Known("out_in", "attn_qkv"), **_fused(mlp__ff_proj="up gate")},
)


def _tables(source: str, *names: str) -> Family:
    return Family(f"models/{source}/modeling_{source}.py", tensors=dict.fromkeys(names, TABLE))


def _head(source: str, name: str) -> Family:
    return Family(f"models/{source}/modeling_{source}.py", tensors={name: Known("out_in", "lm_head")})


_PHI = Family("models/phi3/modeling_phi3.py", qkv="concatenated")
_GPT2 = Family("models/gpt2/modeling_gpt2.py", qkv="concatenated", tensors=_CONV1D)
_NEOX = Family("models/gpt_neox/modeling_gpt_neox.py", qkv="grouped")
_FALCON = Family("models/falcon/modeling_falcon.py", qkv="falcon")
_PE = Family("models/pe_audio/modeling_pe_audio.py: no head", tensors={"output": Known("out_in", "other")})
_LLAMA4 = Family("models/llama4/modeling_llama4.py", tensors=_STACKS_IN_OUT)
_ARIA = Family(
    "models/aria/modeling_aria.py; files keep the names fc1 and fc2",
    tensors={
        **_STACKS_IN_OUT,
        "experts.fc1": Known("experts_in_out", "moe_expert_gate_up"),
        "experts.fc2": Known("experts_in_out", "moe_expert_down"),
    },
)

FAMILIES: Mapping[str, Family] = {
    "albert": Family("models/albert/modeling_albert.py", tensors={"ffn": Known("out_in", "mlp_up")}),
    "aria": _ARIA,
    "aria_text": _ARIA,
    "baichuan": Family("modeling_baichuan.py of baichuan-inc/Baichuan2-7B-Base", qkv="concatenated"),
    "bloom": Family("models/bloom/modeling_bloom.py", qkv="grouped"),
    "chatglm": Family(  # the first ChatGLM has no ffn_hidden_size, and neither gate nor concatenated q, k, v
        "modeling_chatglm.py of zai-org/chatglm3-6b",
        qkv="concatenated",
        tensors={"mlp.dense_h_to_4h": Known("out_in", "mlp_gate_up")},
    ),
    "clvp_decoder": Family("models/clvp/modeling_clvp.py", tensors=_CONV1D),
    "clvp": Family("models/clvp/modeling_clvp.py", tensors=_CONV1D),
    "dbrx": Family(
        "models/dbrx/modeling_dbrx.py",
        qkv="concatenated",
        tensors={
            "experts.mlp.w1": Known("rows_out_in", "moe_expert_gate"),
            "experts.mlp.v1": Known("rows_out_in", "moe_expert_up"),
            "experts.mlp.w2": Known("rows_in_out", "moe_expert_down"),
        },
        experts="ffn_config.moe_num_experts",
    ),
    "decision_transformer": _GPT2,
    "canary": _head("canary", "proj_out"),
    "cohere_asr": _head("cohere_asr", "proj_out"),
    "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2,
    "cpmant": _tables("cpmant", "input_embedding"),
    "ctrl": _tables("ctrl", "w"),
    "deepseek_v4": Family(
        "models/deepseek_v4/modeling_deepseek_v4.py: DeepseekV4GroupedLinear",
        tensors={
            "self_attn.o_a_proj": Known("groups_out_in", "attn_o"),
            "attn.wo_a": Known("groups_out_in", "attn_o"),
        },
        experts="o_groups",
    ),
    "eomt": _tables("eomt", "query"),
    "eomt_dinov3": _tables("eomt_dinov3", "query"),
    "kosmos-2.5": _tables("kosmos2_5", "row_embedder", "column_embedder"),
    "mask2former": _tables("mask2former", "queries_features"),
    "pi0": Family(
        "conversion_mapping.py: of the action expert only the table", tensors={"gemma_expert.lm_head": TABLE}
    ),
    "pix2struct": _tables("pix2struct", "row_embedder", "column_embedder"),
    "rf_detr": _tables("rf_detr", "query_feat", "refpoint_embed"),
    "sam3": _tables("sam3", "reference_points"),
    "sam3_lite_text": _tables("sam3_lite_text", "reference_points"),
    "speecht5": _tables("speecht5", "embed_positions.pe_k"),
    "videomt": _tables("videomt", "query"),
    "falcon": _FALCON,
    "RefinedWeb": _FALCON,
    "RefinedWebModel": _FALCON,
    "gemma3": Family(
        "models/gemma3/modeling_gemma3.py", tensors={"mm_input_projection_weight": Known("in_out", "projector")}
    ),
    "gpt_bigcode": Family("models/gpt_bigcode/modeling_gpt_bigcode.py", qkv="bigcode"),
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    "gpt_neox_japanese": Family("models/gpt_neox_japanese/modeling_gpt_neox_japanese.py", qkv="grouped"),
    "gpt_oss": Family("models/gpt_oss/modeling_gpt_oss.py", alternating=True, tensors=_STACKS_IN_OUT),
    "gradium_phonon_tts": Family(_CONVERTED, tensors=_fused(self_attn__in_proj="q k v")),
    "gte": Family(_CONVERTED, tensors=_fused(attention__qkv_proj="q k v", mlp__up_gate_proj="up gate")),
    "hrm_text": Family(_CONVERTED, tensors=_fused(attn__gqkv_proj="gate q k v", mlp__gate_up_proj="gate up")),
    "imagegpt": _GPT2,
    "jina_embeddings_v3": Family(_CONVERTED, tensors=_fused(mixer__Wqkv="q k v")),
    "kimi_k25_vision": Family(_CONVERTED, tensors=_fused(wqkv="q k v")),
    "molmo2": _MOLMO2,
    "molmo2_text": _MOLMO2,
    "nemo_speechlm": Family(_CONVERTED, tensors=_fused(attn__w_qkv="q k v")),
    "nomic_bert": Family(_CONVERTED, tensors=_fused(attn__Wqkv="q k v")),
    "qianfan_ocr_vision": Family(_CONVERTED, tensors=_fused(attn__qkv="q k v")),
    "radio": Family(_CONVERTED, tensors=_fused(attn__qkv="q k v")),
    "sapiens2": Family(_CONVERTED, tensors=_fused(ffn__w12="gate up")),
    "tipsv2": _TIPSV2,
    "tipsv2_vision_model": _TIPSV2,
    "unlimited_ocr_vision_encoder": Family(_CONVERTED, tensors=_fused(qkv_proj="q k v")),
    "inkling2_text": Family(
        "models/inkling2/modeling_inkling2.py",
        tensors=dict.fromkeys(("k_sconv.weight_proj", "v_sconv.weight_proj"), Known("out_in", "other")),
    ),
    "inkling_mm_model": Family(_CONVERTED, tensors={"audio.encoder": TABLE}),
    "internlm2": Family("modeling_internlm2.py of internlm/internlm2-7b", qkv="grouped"),
    "jetmoe": Family(
        "models/jetmoe/modeling_jetmoe.py",
        tensors={
            "mlp.input_linear": Known("experts_out_in", "moe_expert_gate_up"),
            "mlp.output_linear": Known("experts_out_in", "moe_expert_down"),
            "mlp.router.layer": Known("out_in", "moe_router"),
            "experts.input_linear": Known("experts_out_in", "attn_q"),  # attention is a mixture of experts too
            "experts.output_linear": Known("experts_out_in", "attn_o"),
            "experts.router.layer": Known("out_in", "moe_router"),
        },
    ),
    "llama4": _LLAMA4,
    "llama4_text": _LLAMA4,
    "modernbert": _head("modernbert", "decoder"),
    "modernbert-decoder": _head("modernbert_decoder", "decoder"),
    "moonshine": _head("moonshine", "proj_out"),
    "moonshine_streaming": _head("moonshine_streaming", "proj_out"),
    "mpt": Family("models/mpt/modeling_mpt.py", qkv="concatenated"),
    "nemotron_h": Family(
        "models/nemotron_h/modeling_nemotron_h.py",
        tensors={"experts.up_proj": Known("experts_out_in"), "experts.down_proj": Known("experts_out_in")},
    ),
    "openai-gpt": _GPT2,
    "openai_privacy_filter": Family(
        "models/openai_privacy_filter/modeling_openai_privacy_filter.py", tensors=_STACKS_IN_OUT
    ),
    "pe_audio_encoder": _PE,
    "pe_audio_video_encoder": _PE,
    "pe_video_encoder": _PE,
    "persimmon": Family("models/persimmon/modeling_persimmon.py", qkv="grouped"),
    "phi3": _PHI,
    "phi4_multimodal": replace(
        _PHI,
        source="models/phi4_multimodal/modeling_phi4_multimodal.py",
        tensors={"relative_attention_bias_layer.bias_values": TABLE},
    ),
    "qwen": Family(
        "modeling_qwen.py of Qwen/Qwen-7B: w1(x) * silu(w2(x))",
        qkv="concatenated",
        tensors={"mlp.w1": Known("out_in", "mlp_up"), "mlp.w2": Known("out_in", "mlp_gate")},
    ),
    "recurrent_gemma": Family(
        "models/recurrent_gemma/modeling_recurrent_gemma.py",
        tensors={
            "rg_lru.input_gate_weight": Known("experts_in_out", "ssm_gate"),
            "rg_lru.recurrent_gate_weight": Known("experts_in_out", "ssm_gate"),
        },
    ),
    "rwkv": Family(
        "models/rwkv/modeling_rwkv.py",
        tensors={
            "attention.receptance": Known("out_in", "attn_gate"),
            "head": Known("out_in", "lm_head"),
            "feed_forward.key": Known("out_in", "mlp_up"),
            "feed_forward.value": Known("out_in", "mlp_down"),
            "feed_forward.receptance": Known("out_in", "other"),
        },
    ),
    "t5gemma2": Family(
        "models/t5gemma2/modeling_t5gemma2.py", tensors={"mm_input_projection_weight": Known("in_out", "projector")}
    ),
    "whisper": _head("whisper", "proj_out"),
    "wavlm": _tables("wavlm", "rel_attn_embed"),
    "xlnet": Family("models/xlnet/modeling_xlnet.py", tensors=_XLNET),
    "zamba": Family(
        "models/zamba/modeling_zamba.py",
        tensors={
            "mamba.x_proj_weight": Known("experts_out_in", "ssm_x"),
            "mamba.dt_proj_weight": Known("experts_out_in", "ssm_dt"),
        },
    ),
}

_NOTHING = Family("no family")


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language part of a multi-modal config, else the config itself."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the record of a config's model_type: of its language part, else of the whole, else one without entries."""
    types = (text_config(config).get("model_type"), config.get("model_type"))
    return next((FAMILIES[name] for name in types if isinstance(name, str) and name in FAMILIES), _NOTHING)


def known_of(layer: str, config: Mapping[str, Any]) -> Known | None:
    """Return what is known of a layer by the families in a config."""
    return known_in(layer, families_of(config))


def known_in(layer: str, families: Sequence[Family]) -> Known | None:
    """Return what the first of these families that knows a layer says of it."""
    return next((known for family in families if (known := family.known(layer)) is not None), None)


def families_of(config: Mapping[str, Any]) -> tuple[Family, ...]:
    """Return the records that know layers: of the language part, of the whole, and of other parts in it."""
    types = (text_config(config).get("model_type"), *_types_in(config))
    return tuple(FAMILIES[name] for name in dict.fromkeys(filter(_is_text, types)) if name in FAMILIES)


def _is_text(name: Any) -> TypeGuard[str]:
    return isinstance(name, str)


def _types_in(config: Mapping[str, Any], depth: int = 3) -> Iterator[object]:
    """Yield the types of a model, of the models in it, and of those in them."""
    yield config.get("model_type")
    for part in config.values():
        if isinstance(part, Mapping) and depth > 1:
            yield from _types_in(part, depth - 1)


def table_of(layer: str, config: Mapping[str, Any]) -> Known | None:
    """Return TABLE for a layer of a model of transformers whose name only embedding tables have there."""
    path = [part for part in layer.split(".") if not part.isdigit()]
    return TABLE if path and path[-1] in TABLES_OF_TRANSFORMERS and "model_type" in config else None


def stack_size(config: Mapping[str, Any]) -> int:
    """Return the number of matrices in each 2-D stack of the family, 0 where its config does not say it."""
    value: Any = config
    for key in filter(None, family_of(config).experts.split(".")):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and value > 0 else 0
