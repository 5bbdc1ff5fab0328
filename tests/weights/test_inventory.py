"""Which names the weights of a set of tensors have."""

from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch

from alpha_callbacks.weights.inventory import take_inventory
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor


def names(*parameters: str) -> list[str]:
    """Return the layer names of matrices, and of vectors that end in .bias or stand alone."""
    tensors = []
    for name in parameters:
        values = torch.ones(4, 4) if name.endswith(".weight") else torch.ones(4)
        read = partial(lambda values, start, stop: values[start:stop], values)
        tensors.append(StoredTensor(name, tuple(values.shape), torch.float32, "float32", read))
    return [weight.layer_name for weight in take_inventory(tensors, {}).weights]


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "_forward_module.module.", "module._orig_mod."])
def test_a_wrapper_around_all_is_left_out(prefix: str) -> None:
    assert names(f"{prefix}fc1.weight", f"{prefix}fc1.bias", f"{prefix}fc2.weight") == ["fc1", "fc2"]
    assert names(f"model.{prefix}fc1.weight", f"model.{prefix}fc2.weight") == ["model.fc1", "model.fc2"]


def test_numbers_beside_the_matrices_do_not_keep_a_wrapper() -> None:
    assert names("n_averaged", "module.fc1.weight", "module.fc2.weight") == ["fc1", "fc2"]


@pytest.mark.parametrize(
    "kept",
    [
        ("module.fc1", "head"),
        ("model.module.fc1", "model.head"),
        ("blocks.0.module.fc1", "blocks.1.module.fc1"),
        ("model.layers.0.module", "model.layers.1.module"),
    ],
)
def test_a_module_of_that_name_within_the_model_stays(kept: tuple[str, ...]) -> None:
    assert names(*(f"{name}.weight" for name in kept)) == list(kept)


def test_what_is_told_of_one_sibling_is_what_each_says_alone() -> None:
    """Of thousands of experts one is examined; names, shapes and kinds that differ are no siblings."""
    ends = (
        "self_attn.q_proj", "mlp.experts.0.up_proj", "mlp.experts.7.up_proj", "mlp.0", "mlp.2", "mlp.gate", "norm",
        "mlp.experts.1.gate_up_proj.gate", "vision_tower.fc1", "embed_tokens", "net.0", "net.2", "mlp.bias",
    )  # fmt: skip
    kinds: tuple[Kind, ...] = ("unknown", "linear", "transposed", "embedding")
    tensors = []
    for i, (end, kind, rows) in enumerate(product(ends, kinds, (4, 8))):
        values = torch.randn(rows, 6)
        read = partial(lambda values, start, stop: values[start:stop], values)
        tensors += [
            StoredTensor(f"layers.{i + 200 * again}.{end}.weight", (rows, 6), torch.float32, "float32", read, kind)
            for again in range(2)
        ]
    found = {weight.layer_name: weight for weight in take_inventory(tensors, {}).weights}
    alone = [weight for tensor in tensors for weight in take_inventory([tensor], {}).weights]
    assert list(found) == [weight.layer_name for weight in alone] and len(alone) > 100
    for weight in alone:
        other = found[weight.layer_name]
        assert replace(other, rows=weight.rows) == weight
        assert other.rows(0, 4).equal(weight.rows(0, 4))


def outcomes(**shapes: tuple[int, ...]) -> dict[str, str]:
    """Return name -> shape of the matrix, or why there is none; `__` stands for a dot."""
    tensors = []
    for name, shape in shapes.items():
        values = torch.randn(shape)
        read = partial(lambda values, start, stop: values[start:stop], values)
        tensors.append(StoredTensor(name.replace("__", "."), shape, torch.float32, "float32", read))
    taken = take_inventory(tensors, {})
    found = {w.layer_name: w.unsupported or f"{w.out_features}x{w.in_features}" for w in taken.weights}
    return found | {skipped.name: skipped.reason for skipped in taken.skipped}


def test_gains_of_a_normalization_are_no_matrix() -> None:
    """Command R+ has one row of them for each head; a mean over them and the matrices would say nothing."""
    why = "gains of a normalization, not a matrix"
    assert outcomes(
        model__layers__0__self_attn__q_norm__weight=(32, 128),
        decoder__layers__input_layernorm__weight=(4, 64),
        h__0__ln_1__weight=(8, 64),
        b__GroupNorm_0__weight=(8, 64),
        b__norm1__linear__weight=(64, 32),
        b__norm_proj__weight=(64, 32),
    ) == {
        "model.layers.0.self_attn.q_norm.weight": why,
        "decoder.layers.input_layernorm.weight": why,
        "h.0.ln_1.weight": why,
        "b.GroupNorm_0.weight": why,
        "b.norm1.linear": "64x32",
        "b.norm_proj": "64x32",
    }


def test_layers_or_heads_in_a_third_dimension_are_not_taken_for_a_kernel() -> None:
    """Layers stacked for a scan, and heads beside the width: flattened, their alpha is that of another matrix."""
    found = outcomes(
        decoder__layers__self_attn__q_proj__weight=(4, 48, 64),
        layers__0__attn__o_proj__weight=(4, 16, 64),
        a__attn__qkv__weight=(96, 32, 1, 1),
        b__ffn__w_1__weight=(64, 32, 9),
        pos_conv_embed__conv__weight=(64, 4, 128),
    )
    stacks = {"decoder.layers.self_attn.q_proj", "layers.0.attn.o_proj"}
    assert {name for name, said in found.items() if "several matrices or heads" in said} == stacks
    assert found["a.attn.qkv"] == "96x32"
    assert found["b.ffn.w_1"] == "64x288"
    assert found["pos_conv_embed.conv"] == "64x512"


def test_the_state_dict_of_one_layer_has_its_weight() -> None:
    assert outcomes(weight=(40, 50), bias=(40,)) == {"weight": "40x50", "bias": "1-D, has no spectrum"}
