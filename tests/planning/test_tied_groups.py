import pytest

from alpha_callbacks.planning.plan import Choice
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.weights.layer_names import categorize


def choices(*names: str) -> list[Choice]:
    return [Choice(name, categorize(name.removesuffix("#")), 8, 8, "int8") for name in names]


LLAMA = [
    f"model.layers.{block}.{part}"
    for block in (1, 10)
    for part in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
        "mlp.down_proj",
    )
]  # fmt: skip


def test_llama_ties_qkv_and_gate_up_of_each_block() -> None:
    assert units(choices(*LLAMA)) == [(0, 1, 2), (3,), (4, 5), (6,), (7, 8, 9), (10,), (11, 12), (13,)]
    assert units(choices(*LLAMA), tied=False) == [(i,) for i in range(14)]


def test_names_of_gguf_and_bert() -> None:
    gguf = ("blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.ffn_gate", "blk.0.ffn_up", "blk.1.attn_q")
    assert units(choices(*gguf)) == [(0, 1, 2), (3, 4), (5,)]
    bert = (
        "encoder.layer.0.attention.self.query",
        "encoder.layer.0.attention.self.key",
        "encoder.layer.1.output.dense",
    )
    assert units(choices(*bert)) == [(0, 1), (2,)]


@pytest.mark.parametrize("tied", [True, False])
def test_parts_of_one_stored_matrix_always_go_together(tied: bool) -> None:
    parts = [
        Choice(f"model.layers.0.self_attn.qkv_proj.{part}", f"attn_{part}", 8, 8, "int8") for part in ("q", "k", "v")
    ]
    assert units(parts, tied=tied) == [(0, 1, 2)]


def test_experts_of_a_block_go_together_shared_ones_apart() -> None:
    names = (
        "model.layers.0.mlp.experts.0.gate_proj",
        "model.layers.0.mlp.experts.0.down_proj",
        "model.layers.0.mlp.experts.11.up_proj",
        "model.layers.1.mlp.experts.0.up_proj",
        "model.layers.1.mlp.shared_experts.up_proj",
        "model.layers.1.mlp.shared_experts.gate_proj",
        "model.layers.1.mlp.shared_experts.down_proj",
    )
    assert units(choices(*names)) == [(0, 1, 2), (3,), (4, 5), (6,)]
