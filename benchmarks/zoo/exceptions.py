"""Architectures whose files list other rows than their live models, and why."""

from collections.abc import Mapping

_HEAD = "a tied head, which the file lacks, has in this class a name that a scan does not know"
_TWICE = "one storage has two names: the model lists one, its file keeps the other"

EXCEPTIONS: Mapping[str, str] = {
    "bark": "heads are tied to several embedding tables, which a scan does not know of",
    "bert-generation": _HEAD,
    "deimv2": _TWICE,
    "encoder-decoder": _HEAD,
    "gpt_neox-tied": _HEAD,
    "hyperclovax_vision_v2": _HEAD,
    "neomme": _TWICE,
    "olmo_hybrid": "128 channels of three kernels are saved as 43, 43 and 42; the live kernel stays whole",
    "rf_detr": "nothing in the file tells that refpoint_embed is an embedding table",
    "rt_detr_v2": _TWICE,
    "shieldgemma2": _HEAD,
}
