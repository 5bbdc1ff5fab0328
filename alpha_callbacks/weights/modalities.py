"""Which part of a model with several modalities a layer is in, so that no mean over a category mixes them."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Whole segments of paths. A projector between two parts has a category of its own, so it belongs to neither.
_SEGMENTS = {
    "vision": re.compile(
        r"(high_res_)?(vision|visual|image|video|img|visn)(_(model|tower|encoder|backbone|transformer|embeddings|embed|"
        r"processor|mlp|attn|mod|in|self_att|inter|output|fc))?|vit|vpm|sam_(encoder|model)|embed_vision|r_layers|"
        r"cross_modal_image_layers"
    ),
    "audio": re.compile(
        r"(audio|speech|sound|acoustic)(_(model|tower|encoder|decoder|encoder_model|decoder_model|embed|mlp))?|apm|"
        r"embed_audio|(code|token)2wav"
    ),
    "text": re.compile(  # beside the tokens of an image, in diffusion transformers
        r"add_[qkv]_proj|to_add_out|ff_context|norm1_context|context_embedder|txt_(attn|mlp|mod|in)"
    ),
}
MODALITIES = tuple(_SEGMENTS)
_FIRST = {"v": "vision", "a": "audio"}  # towers in a GGUF file, where they have layers inside: a layer "v" is a value
_OF_CONFIG = {  # keys that only the config of such a model has
    "vision": ("patch_size", "image_size"),
    "audio": ("num_mel_bins", "input_feat_per_channel", "feat_extract_norm", "sampling_rate"),
}
_SPEECH_TO_TEXT = ("canary", "cohere_asr", "moonshine", "moonshine_streaming")  # whose configs have none of these keys


def modality_of(layer_name: str, config: Mapping[str, Any]) -> str:
    """Return "vision", "audio", "text", or "" for the language part and for a model with one modality.

    Args:
        layer_name: module path.
        config: the model's config.json as a dict, or empty.

    Examples:
        >>> modality_of("model.vision_tower.layers.0.mlp.fc1", {}), modality_of("model.layers.0.mlp.up_proj", {})
        ('vision', '')
        >>> modality_of("model.encoder.layers.0.fc1", {"is_encoder_decoder": True, "num_mel_bins": 80})
        'audio'
    """
    path = layer_name.split(".")
    found = next((kind for part in path if (kind := _of_segment(part))), "")
    found = found or (_FIRST.get(path[0], "") if len(path) > 1 else "")
    if found or not config.get("is_encoder_decoder") or "encoder" not in path[:2]:
        return found
    inner = config.get("encoder")  # of two models side by side, as in TrOCR
    return _of_model(inner if isinstance(inner, Mapping) else config)


def group_of(category: str, modality: str) -> str:
    """Return a category within a modality, as means and charts put layers together.

    Examples:
        >>> group_of("attn_q", "vision"), group_of("attn_q", "")
        ('vision_attn_q', 'attn_q')
    """
    return f"{modality}_{category}" if modality else category


def category_in(group: str) -> tuple[str, str]:
    """Return (category, modality) of what `group_of` made.

    Examples:
        >>> category_in("vision_attn_q"), category_in("attn_q")
        (('attn_q', 'vision'), ('attn_q', ''))
    """
    modality, _, category = group.partition("_")
    return (category, modality) if modality in MODALITIES else (group, "")


@lru_cache(4096)
def _of_segment(segment: str) -> str:
    return next((kind for kind, pattern in _SEGMENTS.items() if pattern.fullmatch(segment)), "")


def _of_model(config: Mapping[str, Any]) -> str:
    if config.get("model_type") in _SPEECH_TO_TEXT:
        return "audio"
    return next((kind for kind, keys in _OF_CONFIG.items() if any(config.get(key) for key in keys)), "")
