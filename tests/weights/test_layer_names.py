import pytest

from alpha_callbacks.weights.layer_names import (
    block_index,
    clean_name,
    module_order,
    short_name,
)
from alpha_callbacks.weights.stored_tensor import layer_name_of


@pytest.mark.parametrize(
    ("name", "block", "short"),
    [
        ("model.layers.17.self_attn.q_proj", 17, "self_attn.q_proj"),
        ("transformer.h.3.mlp.c_fc", 3, "mlp.c_fc"),
        ("encoder.layer.0.output.dense", 0, "output.dense"),
        ("blk.29.ffn_up", 29, "ffn_up"),
        ("lm_head", None, "lm_head"),
        ("layers", None, "layers"),
        ("layers.\u00b2.fc1", None, "layers.\u00b2.fc1"),
        (f"layers.{'9' * 5000}.fc1", None, f"layers.{'9' * 5000}.fc1"),
    ],
)
def test_blocks(name: str, block: int | None, short: str) -> None:
    assert block_index(name) == block
    assert short_name(name) == short
    assert module_order(name)


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("model.layers.0.fc1.weight", "model.layers.0.fc1"),
        ("_orig_mod.layers.0._checkpoint_wrapped_module.fc1.weight", "layers.0.fc1"),
        ("layers.0._orig_mod.fc1.weight", "layers.0.fc1"),
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module.fc1.weight", "layers.0.fc1"),
        ("model.q_proj.base_layer.weight", "model.q_proj"),
        ("_forward_module.model.fc1.weight", "model.fc1"),
        ("model._orig_mod._fpw_module.fc1.weight", "model.fc1"),
        ("module", "module"),
        ("attention.in_proj_weight", "attention.in_proj_weight"),
    ],
)
def test_layer_names(parameter: str, layer: str) -> None:
    assert layer_name_of(parameter) == layer
    assert clean_name(clean_name(parameter)) == clean_name(parameter)


def test_blocks_are_ordered_as_numbers() -> None:
    names = ["lm_head", "model.layers.10.mlp.up_proj", "model.layers.9.mlp.up_proj", "model.embed_tokens"]
    assert sorted(names, key=module_order) == [names[3], names[2], names[1], names[0]]
