"""Layers that a server fuses share one format."""

from alpha_callbacks.planning.plan import Choice
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.weights.categorize import categorize


def groups(*names: str, tied: bool = True) -> list[set[str]]:
    choices = [Choice(name, categorize(name), 64, 64, "bf16") for name in names]
    return [{names[i].rpartition(".")[2] for i in unit} for unit in units(choices, tied=tied)]


def test_attention_and_mlp() -> None:
    names = [f"layers.0.self_attn.{n}_proj" for n in "qkvo"] + [
        f"layers.0.mlp.{n}_proj" for n in ("gate", "up", "down")
    ]
    assert groups(*names) == [{"q_proj", "k_proj", "v_proj"}, {"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}]
    assert len(groups(*names, tied=False)) == len(names)


def test_latent_attention() -> None:
    last = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
    assert groups(*(f"model.layers.0.self_attn.{name}" for name in last)) == [
        {"q_a_proj", "kv_a_proj_with_mqa"}, {"q_b_proj"}, {"kv_b_proj"}, {"o_proj"}
    ]  # fmt: skip


def test_linear_attention() -> None:
    last = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
    assert groups(*(f"model.layers.0.linear_attn.{name}" for name in last)) == [
        {"in_proj_qkv", "in_proj_z"}, {"in_proj_b", "in_proj_a"}, {"out_proj"}
    ]  # fmt: skip


def test_experts_of_a_block() -> None:
    names = [f"layers.0.mlp.experts.{i}.{part}" for i in range(2) for part in ("gate_proj", "down_proj")]
    assert len(groups(*names)) == 1
