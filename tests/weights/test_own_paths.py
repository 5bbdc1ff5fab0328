"""Matrices whose names clash: none is refused, none is lost, each has its own values."""

import torch
from torch import Tensor

from alpha_callbacks.weights.inventory import Inventory, take_inventory
from alpha_callbacks.weights.own_paths import OWN_PATHS
from alpha_callbacks.weights.stored_tensor import StoredTensor

CONFIG = {"model_type": "qwen3_moe", "hidden_size": 8, "moe_intermediate_size": 4}
ATTENTION = {"model_type": "phi3", "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}


def stored(name: str, values: Tensor) -> StoredTensor:
    return StoredTensor(name, tuple(values.shape), values.dtype, "float32", lambda start, stop: values[start:stop])


def inventory(tensors: dict[str, Tensor], config: dict[str, object]) -> Inventory:
    return take_inventory([stored(name, values) for name, values in tensors.items()], config)


def test_a_stack_beside_the_same_experts_one_by_one() -> None:
    at = "model.layers.0.mlp.experts"
    tensors = {f"{at}.gate_up_proj": torch.randn(2, 8, 8), f"{at}.down_proj": torch.randn(2, 8, 4)}
    tensors |= {f"{at}.1.gate_proj.weight": torch.randn(4, 8), f"{at}.1.down_proj.weight": torch.randn(8, 4)}
    found = inventory(tensors, CONFIG)
    weights = {weight.layer_name: weight.rows(0, weight.out_features) for weight in found.weights}
    assert len(weights) == 8 and "under their own path" in found.notes[0]
    assert weights[f"{at}.1.gate_up_proj.gate"].equal(tensors[f"{at}.gate_up_proj"][1, :4])
    assert weights[f"{at}.1.gate_proj"].equal(tensors[f"{at}.1.gate_proj.weight"])
    assert weights[f"{at}.1.down_proj"].equal(tensors[f"{at}.down_proj"][1])
    assert weights[f"{at}.1.down_proj (2)"].equal(tensors[f"{at}.1.down_proj.weight"])


def test_fused_matrices_under_a_wrapper_and_without() -> None:
    at = "layers.0.self_attn.qkv_proj"
    tensors = {f"{at}.weight": torch.randn(16, 8), f"_orig_mod.{at}.weight": torch.randn(16, 8)}
    found = inventory(tensors, ATTENTION)
    for weight in found.weights:
        whole, _, part = weight.layer_name.rpartition(".")
        start = {"q": 0, "k": 8, "v": 12}[part]
        rows = tensors[f"{whole}.weight"][start : start + weight.out_features]
        assert weight.rows(0, weight.out_features).equal(rows)
    assert len({weight.layer_name for weight in found.weights}) == 6


def test_a_filter_finds_them_by_their_own_path_and_by_their_common_name() -> None:
    tensors = {name: torch.randn(4, 4) for name in ("a.weight", "_orig_mod.a.weight", "b.weight")}

    def found(wanted: str) -> tuple[list[str], tuple[str, ...]]:
        listed = take_inventory(
            [stored(name, values) for name, values in tensors.items()], {}, selects=lambda *names: wanted in names
        )
        return [weight.layer_name for weight in listed.weights], listed.notes

    assert found("_orig_mod.a") == (["_orig_mod.a"], (OWN_PATHS,))
    assert found("a") == (["a", "_orig_mod.a"], (OWN_PATHS,))
    assert found("b") == (["b"], ())


def test_layers_that_do_not_clash_keep_their_names_and_there_is_no_note() -> None:
    found = inventory({"_orig_mod.a.weight": torch.randn(4, 4), "b.weight": torch.randn(4, 4)}, {})
    assert [weight.layer_name for weight in found.weights] == ["a", "b"] and found.notes == ()
