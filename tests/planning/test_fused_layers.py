"""Held to what vLLM's own models say they fuse."""

from pathlib import Path

import pytest

from alpha_callbacks.planning.fused_layers import fused_sets

LISTS = [
    tuple(line.split()[:-1])
    for line in (Path(__file__).parents[1] / "golden" / "vllm_fused_layers.txt")
    .read_text(encoding="utf-8")
    .splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("names", LISTS, ids=" ".join)
def test_what_vllm_fuses_is_one_set(names: tuple[str, ...]) -> None:
    modules = [f"model.layers.{block}.{name}" for name in names for block in (1, 11)] + ["model.layers.1.o_proj"]
    assert [len(group) for group in fused_sets(modules)] == [len(names), len(names), 1]


@pytest.mark.parametrize(
    "names",
    [
        ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", "other_attn.k_proj"),
        ("self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_b_proj", "self_attn.o_proj"),
        ("mlp.gate_proj", "self_attn.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert_gate"),
        ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    ],
)
def test_what_lies_apart_or_is_of_another_kind_stays_alone(names: tuple[str, ...]) -> None:
    assert len(fused_sets([f"model.layers.0.{name}" for name in names])) == len(names)


def test_a_gate_of_attention_goes_with_q_only_where_both_are() -> None:
    gate = ["attn.q_proj", "attn.gate_proj", "mlp.gate_proj", "mlp.up_proj"]
    assert fused_sets(gate) == [{0, 1}, {2, 3}]
