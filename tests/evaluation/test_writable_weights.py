"""Matrices of live models by the names of plans that come from other sources."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.evaluation.writable_weights import matrices, targets
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import Choice
from alpha_callbacks.weights.weight import Weight
from tests.support.small_models import GROUPED, SMALL, build


def scanned(folder: Path) -> list[Weight]:
    return open_checkpoint(folder).inventory(AnalysisOptions()).weights


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("Llama", {**GROUPED, "tie_word_embeddings": True}),
        ("Mixtral", {**GROUPED, "num_local_experts": 3}),
        ("Qwen3Moe", {**GROUPED, "num_experts": 3, "moe_intermediate_size": 16, "decoder_sparse_step": 1}),
        ("Phi3", {**GROUPED, "pad_token_id": 0}),
        ("GPT2", {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 2}),
    ],
)
def test_a_scan_of_the_checkpoint_names_the_models_own_weights(family: str, options: Any, tmp_path: Path) -> None:
    model = build(family, **options)
    model.save_pretrained(tmp_path)
    weights = scanned(tmp_path)
    found = targets(model, weights)
    assert [target.layers for target in found] == [(weight,) for weight in weights]
    for target, weight in zip(found, weights, strict=True):
        assert torch.equal(target.matrix, weight.rows(0, weight.out_features)), weight.layer_name
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for target in found:
        target.matrix.add_(1.0)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name for name, tensor in before.items() if tensor.ndim > 1} - changed <= {
        "model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight",
    }  # fmt: skip


def test_grouped_parts_share_their_module(tmp_path: Path) -> None:
    model = build("GPTNeoX", **SMALL)
    model.save_pretrained(tmp_path)
    found = {target.layers[0].layer_name: target for target in targets(model, scanned(tmp_path))}
    fused = found["gpt_neox.layers.0.attention.query_key_value.q"]
    assert [layer.layer_name.rpartition(".")[2] for layer in fused.layers] == ["q", "k", "v"]
    assert fused.matrix.data_ptr() == model.gpt_neox.layers[0].attention.query_key_value.weight.data_ptr()


def test_a_checkpoint_of_the_base_model_leaves_its_prefix_out(tmp_path: Path) -> None:
    model = build("GPT2", vocab_size=96, n_embd=32, n_layer=2, n_head=2)
    model.transformer.save_pretrained(tmp_path)
    weights = [weight for weight in scanned(tmp_path) if weight.layer_name.startswith("h.")]
    assert len(targets(model, weights)) == len(weights) == 12


def test_stacked_experts_of_gguf(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = build("Mixtral", **GROUPED, num_local_experts=3)
    choices = [
        Choice(f"blk.1.2.ffn_{part}_exps", f"moe_expert_{part}", *shape, "int8")
        for part, shape in (("gate", (64, 32)), ("up", (64, 32)), ("down", (32, 64)))
    ]
    found = [target.matrix for target in targets(model, choices)]
    by_name = matrices(model)
    own = "model.layers.1.block_sparse_moe.experts.2"
    expected = [by_name[f"{own}.{part}"] for part in ("w1", "w3", "w2")]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_gguf_names_need_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"\.\[gguf\]"):
        targets(build("Llama", **GROUPED), [Choice("blk.0.attn_q", "attn_q", 32, 32, "int8")])


def test_plans_of_other_models_are_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    with pytest.raises(PlanError, match=r"fc: expected a layer of the model, it has none of this name .* \(1 of 2"):
        targets(model, [Choice("0", "other", 4, 8, "int8"), Choice("fc", "other", 4, 8, "int8")])
    with pytest.raises(PlanError, match=r"0: expected a weight of shape \(8, 8\), as scanned, got \(4, 8\)"):
        targets(model, [Choice("0", "other", 8, 8, "int8")])


def test_computed_weights_cannot_be_written() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)), nn.Linear(4, 4))
    assert list(matrices(model)) == ["1"]
