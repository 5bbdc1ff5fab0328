"""Whether a checkpoint computes as the model that it was made from, by what their configs say."""

import math
from collections.abc import Mapping
from typing import Any

# Entries that change no prediction of a model in eval mode, or that shapes of parameters tell.
_NO_MATTER = frozenset(
    (
        "architectures", "auto_map", "bos_token_id", "dtype", "eos_token_id", "initializer_range", "model_type",
        "pad_token_id", "problem_type", "quantization_config", "task_specific_params", "tie_word_embeddings",
        "tokenizer_class", "torch_dtype", "transformers_version", "use_cache",
    )
)  # fmt: skip
_DIGITS = 1e-6  # GGUF stores numbers in fp32


def different(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Return the entries of two configs of transformers that differ and may change what is predicted."""
    ours, theirs = (dict(config.get_text_config().to_dict()) for config in (one, other))
    names = [*ours, *(name for name in theirs if name not in ours)]
    return {
        name: (ours.get(name), theirs.get(name))
        for name in names
        if name not in _NO_MATTER
        and not name.startswith("_")
        and not name.endswith("_dropout")
        and not _same(ours.get(name), theirs.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_same(one.get(key), other.get(key)) for key in {*one, *other})
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=_DIGITS)
    return bool(one == other)
