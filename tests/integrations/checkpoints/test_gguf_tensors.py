from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.weight import Weight
from tests.support.gguf_files import noise, write_gguf

pytest.importorskip("gguf")

QKV, UP = "blk.1.attn_qkv.weight", "blk.1.ffn_up.weight"


def take(folder: Path, tensors: Mapping[str, Any], **about: Any) -> Inventory:
    return open_checkpoint(write_gguf(folder / "m.gguf", tensors, **about)).inventory(AnalysisOptions())


def named(inventory: Inventory) -> dict[str, Weight]:
    return {weight.layer_name: weight for weight in inventory.weights}


def categories(inventory: Inventory) -> dict[str, tuple[str, int, int]]:
    return {w.layer_name: (w.category, w.out_features, w.in_features) for w in inventory.weights}


def same(weight: Weight, want: Any) -> None:
    torch.testing.assert_close(weight.rows(0, weight.out_features), torch.from_numpy(want.copy()), rtol=0, atol=0)
    torch.testing.assert_close(weight.rows(3, 5), torch.from_numpy(want[3:5].copy()), rtol=0, atol=0)


def test_heads_of_latent_attention_are_the_rows_of_kv_b(tmp_path: Path) -> None:
    heads, nope, value, rank = 3, 4, 5, 8
    kv_b = noise(heads * (nope + value), rank).reshape(heads, nope + value, rank)
    k_b, v_b = kv_b[:, :nope], kv_b[:, nope:]  # as llama.cpp's converter splits it; it also turns k
    stored = {"blk.0.attn_k_b.weight": k_b.transpose(0, 2, 1).copy(), "blk.0.attn_v_b.weight": v_b.copy()}
    found = named(take(tmp_path, stored, arch="deepseek2"))
    same(found["blk.0.attn_k_b"], k_b.reshape(-1, rank))
    same(found["blk.0.attn_v_b"], v_b.reshape(-1, rank))
    assert [weight.category for weight in found.values()] == ["attn_k", "attn_v"]


def test_experts_are_out_by_in_whatever_the_sizes(tmp_path: Path) -> None:
    """The sizes, and a config.json of another model, suggest the other way."""
    down, gate_up = noise(2, 64, 96), noise(2, 48, 64)
    config = '{"model_type": "gpt_oss", "hidden_size": 96, "intermediate_size": 32, "moe_intermediate_size": 32}'
    (tmp_path / "config.json").write_text(config)
    stored = {"blk.0.ffn_down_exps.weight": down, "blk.0.ffn_gate_up_exps.weight": gate_up}
    inventory = take(tmp_path, stored, arch="qwen35moe")
    same(named(inventory)["blk.0.1.ffn_down_exps"], down[1])
    same(named(inventory)["blk.0.0.ffn_gate_up_exps.gate"], gate_up[0][:24])
    same(named(inventory)["blk.0.0.ffn_gate_up_exps.up"], gate_up[0][24:])
    assert categories(inventory)["blk.0.1.ffn_gate_up_exps.up"] == ("moe_expert_up", 24, 64)


def test_stacks_that_are_no_experts(tmp_path: Path) -> None:
    proj, chunk = noise(3, 8, 6), noise(2, 12, 6)
    inventory = take(tmp_path, {"altup_proj.weight": proj, "blk.0.ffn_gate_chexps.weight": chunk}, arch="gemma3n")
    same(named(inventory)["altup_proj.2"], proj[2])
    assert categories(inventory)["blk.0.1.ffn_gate_chexps"] == ("moe_expert_gate", 12, 6)


def test_experts_of_old_files_stand_alone(tmp_path: Path) -> None:
    inventory = take(tmp_path, {"blk.0.ffn_up.3.weight": noise(12, 64), "blk.0.ffn_gate_inp.weight": noise(8, 64)})
    assert categories(inventory) == {
        "blk.0.ffn_gate_inp": ("moe_router", 8, 64),
        "blk.0.ffn_up.3": ("moe_expert_up", 12, 64),
    }


def test_qkv_by_the_heads_of_its_own_block(tmp_path: Path) -> None:
    sizes = {"openelm.embedding_length": 64, "openelm.attention.key_length": 16, "openelm.attention.value_length": 8}
    heads = {"openelm.attention.head_count": [2, 4], "openelm.attention.head_count_kv": [1, 2]}
    qkv = noise(4 * 16 + 2 * 16 + 2 * 8, 64)
    found = named(take(tmp_path, {QKV: qkv}, arch="openelm", numbers=sizes | heads))
    same(found["blk.1.attn_qkv.q"], qkv[:64])
    same(found["blk.1.attn_qkv.k"], qkv[64:96])
    same(found["blk.1.attn_qkv.v"], qkv[96:])


def test_qkv_of_linear_attention(tmp_path: Path) -> None:
    sizes = {"qwen3next.ssm.state_size": 8, "qwen3next.ssm.group_count": 2, "qwen3next.ssm.inner_size": 64}
    tensors = {QKV: noise(96, 64), "blk.1.ssm_out.weight": noise(64, 64), "blk.1.ssm_conv1d.weight": noise(96, 4)}
    found = categories(take(tmp_path, tensors, arch="qwen3next", numbers=sizes))
    assert found["blk.1.attn_qkv.k"] == ("attn_k", 16, 64)
    assert found["blk.1.attn_qkv.v"] == ("attn_v", 64, 64)
    assert found["blk.1.ssm_conv1d"] == ("conv", 96, 4)


def test_qkv_of_a_vision_tower(tmp_path: Path) -> None:
    tensors = {"v.blk.0.attn_qkv.weight": noise(96, 32), "v.patch_embd.weight": noise(8, 3, 4, 4)}
    found = categories(take(tmp_path, tensors, arch="clip"))
    assert found["v.blk.0.attn_qkv.v"] == ("attn_v", 32, 32)
    assert found["v.patch_embd"] == ("conv", 8, 48)


@pytest.mark.parametrize("numbers", [{}, {"phi3.embedding_length": 64, "phi3.attention.head_count": 5}])
def test_a_size_that_nothing_explains_stays_whole(numbers: Mapping[str, int], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"model_type": "phi3", "num_attention_heads": 4, '
                                          '"hidden_size": 64, "intermediate_size": 48}}')  # fmt: skip
    found = categories(take(tmp_path, {QKV: noise(192, 64), UP: noise(96, 64)}, arch="phi3", numbers=numbers))
    assert found == {"blk.1.attn_qkv": ("attn_qkv", 192, 64), "blk.1.ffn_up": ("mlp_up", 96, 64)}


def test_gate_and_up_in_one(tmp_path: Path) -> None:
    numbers = {"phi3.feed_forward_length": [24, 48]}
    inventory = take(tmp_path, {UP: noise(96, 64), "blk.0.ffn_up.weight": noise(24, 64)}, arch="phi3", numbers=numbers)
    same(named(inventory)["blk.1.ffn_up.gate"], noise(96, 64)[:48])
    assert categories(inventory)["blk.1.ffn_up.up"] == ("mlp_up", 48, 64)
    assert categories(inventory)["blk.0.ffn_up"] == ("mlp_up", 24, 64)


def test_up_beside_a_gate_is_one_matrix(tmp_path: Path) -> None:
    tensors = {UP: noise(96, 64), "blk.1.ffn_gate.weight": noise(96, 64)}
    assert "blk.1.ffn_up" in named(take(tmp_path, tensors, arch="x", numbers={"x.feed_forward_length": 48}))


def test_what_is_no_matrix_says_why(tmp_path: Path) -> None:
    tensors = {
        "blk.0.time_mix_lerp_fused.weight": noise(5, 1, 1, 64),
        "blk.0.time_mix_first.weight": noise(4, 16),
        "v.position_embd.weight": noise(2, 8, 64),
        "blk.0.attn_q.weight.lora_a": noise(4, 64),
        "output_norm.weight": noise(64),
    }
    inventory = take(tmp_path, tensors, arch="rwkv6")
    assert not inventory.weights
    assert [skipped.reason for skipped in sorted(inventory.skipped, key=lambda skipped: skipped.name)] == [
        "low-rank adapter factor, not a weight by itself",
        "coefficients of channels, not a matrix",
        "coefficients of channels, not a matrix",
        "1-D, has no spectrum",
        "3-D embedding, not a matrix",
    ]


EMBEDDING = {"token_embd.weight": noise(40, 64), UP: noise(96, 64)}


@pytest.mark.parametrize("arch", ["llama", "olmo", "command-r", "lfm2", "t5", "smollm3", "an-architecture-of-tomorrow"])
def test_a_language_model_without_a_head_uses_the_embedding(arch: str, tmp_path: Path) -> None:
    head = named(take(tmp_path, EMBEDDING, arch=arch))["output"]
    assert (head.category, head.tied_to) == ("lm_head", "token_embd")
    same(head, EMBEDDING["token_embd.weight"])


@pytest.mark.parametrize(
    ("arch", "more", "numbers"),
    [
        ("bert", {}, {}),
        ("t5encoder", {}, {}),
        ("gemma-embedding", {}, {}),
        ("qwen3", {}, {"qwen3.pooling_type": 3}),
        ("qwen3", {"cls.output.weight": noise(2, 64)}, {}),
        ("llama", {"output.weight": noise(40, 64)}, {}),
    ],
)
def test_what_has_no_tied_head(arch: str, more: Mapping[str, Any], numbers: Mapping[str, int], tmp_path: Path) -> None:
    inventory = take(tmp_path, {**EMBEDDING, **more}, arch=arch, numbers=numbers)
    assert not [weight for weight in inventory.weights if weight.tied_to]
    assert ("output" in named(inventory)) == ("output.weight" in more)


def test_every_encoder_that_gguf_knows_is_one_here() -> None:
    """Those that gguf gives no head, apart from families that are always tied."""
    import gguf
    from alpha_integrations.checkpoints.gguf_tensors import _NO_HEAD

    always_tied = {"gemma", "gemma2", "command-r", "cohere2", "openelm", "bitnet", "lfm2moe"}
    headless = {
        gguf.MODEL_ARCH_NAMES[arch]
        for arch, tensors in gguf.MODEL_TENSORS.items()
        if gguf.MODEL_TENSOR.OUTPUT not in tensors
    }
    assert headless - always_tied == _NO_HEAD - {"t5encoder", "gemma-embedding", "llama-embed", "wavtokenizer-dec"}


@pytest.mark.parametrize(
    ("arch", "what"),
    [("imatrix", "an importance matrix"), ("controlvector", "a control vector"), ("adapter", "a LoRA")],
)
def test_files_that_hold_no_model(arch: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"m.gguf: expected a model, got {what}"):
        take(tmp_path, {"blk.0.attn_q.weight.in_sum2": np.ones((1, 64), np.float32)}, arch=arch)
