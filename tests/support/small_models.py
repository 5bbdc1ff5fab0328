"""Small language models of several families, made from their configs."""

from typing import Any

import pytest

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = dict(
    vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=32,
)  # fmt: skip
GROUPED: dict[str, Any] = dict(**SMALL, num_key_value_heads=1)


def build(family: str, **options: Any) -> Any:
    """Return a model of this family in evaluation mode."""
    config = getattr(transformers, f"{family}Config")(**options)
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    return getattr(transformers, f"{family}{head}")(config).eval()
