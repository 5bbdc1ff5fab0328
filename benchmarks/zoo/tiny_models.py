"""Name of an architecture -> a tiny random model of it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from benchmarks.zoo.tiny_configs import BY_HAND, VARIANTS, tiny_config

# The class with the most in it comes first: a head, then both halves of a model, then the base alone.
_HEADS = (
    "SPEECH_SEQ_2_SEQ", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "MASKED_LM", "CAUSAL_LM", "CTC",
    "IMAGE_CLASSIFICATION", "MASK_GENERATION", "OBJECT_DETECTION", "SEMANTIC_SEGMENTATION",
    "ZERO_SHOT_IMAGE_CLASSIFICATION", "PRETRAINING", "TEXT_TO_WAVEFORM", "TEXT_TO_SPECTROGRAM",
    "AUDIO_CLASSIFICATION", "VIDEO_CLASSIFICATION", "DEPTH_ESTIMATION", "UNIVERSAL_SEGMENTATION",
    "TIME_SERIES_PREDICTION", "KEYPOINT_DETECTION", "KEYPOINT_MATCHING", "BACKBONE",
)  # fmt: skip
_MOST = 60e6  # parameters

ARCHITECTURES: Sequence[str] = sorted({*CONFIG_MAPPING_NAMES, *VARIANTS})


class NotBuilt(Exception):
    """No tiny model of this architecture can be made; the text says why."""


def build(name: str) -> Any:
    """Return a random model in fp32, in eval mode.

    Raises:
        NotBuilt: transformers has no class for it, needs a package that is missing, or refuses the small config.
    """
    model_type, overrides = VARIANTS.get(name, (name, BY_HAND.get(name, {})))
    model_class = _class_of(model_type)
    if model_class is None:
        raise NotBuilt("no model class")
    torch.manual_seed(0)
    try:
        config = tiny_config(getattr(transformers, CONFIG_MAPPING_NAMES[model_type]), overrides)
        config.use_cache = False
        make: Callable[[Any], nn.Module] = getattr(model_class, "_from_config", model_class)
        if (size := _size(make, config)) > _MOST:
            raise NotBuilt(f"{size / 1e6:.0f} million parameters")
        model = make(config)
    except (NotBuilt, MemoryError):
        raise
    except Exception as error:  # whatever a foreign constructor says to sizes that it was not made for
        raise NotBuilt(f"{type(error).__name__} when it is built this small") from error
    with torch.no_grad():  # zeros and ones of an initialisation would hide differences
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.ndim >= 2:
                parameter.normal_(0, 0.05)
    for part in model.modules():
        if isinstance(getattr(part, "config", None), PreTrainedConfig):
            part.config._experts_implementation = "eager"
    return model.eval().float()


def forward_inputs() -> list[dict[str, Tensor]]:
    """Return what a forward pass may want, to be tried one after the other."""
    ids = torch.arange(1, 25).view(2, 12)
    pixels = torch.randn(2, 3, 32, 32)
    return [
        {"input_ids": ids},
        {"input_ids": ids, "decoder_input_ids": ids},
        {"pixel_values": pixels},
        {"input_values": torch.randn(2, 4000)},
        {"input_features": torch.randn(2, 16, 64)},
        {"input_features": torch.randn(2, 16, 128), "decoder_input_ids": ids},
        {"input_ids": ids, "pixel_values": pixels},
    ]


def _class_of(model_type: str) -> Any:
    mappings = [f"MODEL_FOR_{head}_MAPPING_NAMES" for head in _HEADS]
    for mapping in (*mappings, "MODEL_MAPPING_NAMES"):
        names = getattr(modeling_auto, mapping, {}).get(model_type)
        found = getattr(transformers, names if isinstance(names, str) else names[0], None) if names else None
        if found is not None:
            return found
    return None


def _size(make: Callable[[Any], nn.Module], config: Any) -> int:
    """Return the number of parameters, 0 where the model cannot be made without memory for them."""
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in make(config).parameters())
    except Exception:
        return 0
