"""The layers that are trained have the names of the inventory, matrix by matrix."""

from collections.abc import Callable

import pytest
from torch import nn
from torch.optim.swa_utils import AveragedModel

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.trained_layers import trained_layers


def check(model: nn.Module) -> dict[str, tuple[str, ...]]:
    layers = trained_layers(model)
    listed = [weight.layer_name for weight in module_inventory(model, AnalysisOptions()).weights]
    matrices = [name for layer in layers for name in layer.matrices]
    assert len({layer.name for layer in layers}) == len(layers)
    assert set(listed) <= set(matrices)
    return {layer.name: layer.matrices for layer in layers}


def test_modules_with_one_matrix_each() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(4, 4))
    assert check(model) == {"0": ("0",), "1": ("1",), "3": ("3",)}
    assert [len(layer.parameters) for layer in trained_layers(model)] == [2, 2, 1]


def test_attention_with_fused_projections() -> None:
    assert check(nn.MultiheadAttention(8, 2)) == {
        "in_proj": ("in_proj.q", "in_proj.k", "in_proj.v"),
        "out_proj": ("out_proj",),
    }


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "torch.compile": lambda model: nn.ModuleDict({"_orig_mod": model}),
    "DistributedDataParallel": lambda model: nn.ModuleDict({"module": model}),
    "AveragedModel": lambda model: AveragedModel(AveragedModel(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers(wrap: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    assert check(WRAPPERS[wrap](model)) == {
        "0": ("0",),
        "1.in_proj": ("1.in_proj.q", "1.in_proj.k", "1.in_proj.v"),
        "1.out_proj": ("1.out_proj",),
    }


def test_weights_that_are_computed() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))
    assert check(nn.Sequential(layer)) == {"0": ("0",)}
    (found,) = trained_layers(nn.Sequential(layer))
    assert {id(p) for p in found.parameters} == {id(p) for p in layer.parameters()}


def test_recurrent_layers_have_several_weights_and_no_bias_of_one() -> None:
    layers = trained_layers(nn.LSTM(4, 4))
    assert [len(layer.parameters) for layer in layers] == [1, 1]


def test_families_with_fused_and_transposed_weights() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16, n_positions=8)
    found = check(transformers.GPT2LMHeadModel(config))
    assert found["transformer.h.0.attn.c_attn"] == tuple(f"transformer.h.0.attn.c_attn.{x}" for x in "qkv")
    assert found["lm_head"] == ("transformer.wte", "lm_head")
    assert list(found)[-1] == "lm_head"


def test_experts_in_one_parameter_are_one_layer() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        num_local_experts=2, vocab_size=16,
    )  # fmt: skip
    found = check(transformers.MixtralForCausalLM(config))
    experts = {name: matrices for name, matrices in found.items() if "experts" in name}
    assert sorted(map(len, experts.values())) == [2, 4]  # down, and gate and up, of two experts
