import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alpha_callbacks
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.export_plan import export_plan
from alpha_callbacks.planning.layer_config import expand, layers_of
from alpha_callbacks.planning.plan import Choice
from tests.support.plan_examples import NAMES, TARGETS, plan_of

TINY = Path(alpha_callbacks.__file__).parent / "assets" / "tiny_llama"


def layer(name: str, category: str = "other", precision: str = "bf16", tied_to: str = "") -> Choice:
    return Choice(name, category, 64, 64, precision, tied_to=tied_to)


LAYERS = (
    layer("layers.0.q_proj"),
    layer("layers.1.q_proj"),
    layer("layers.10.q_proj"),
    layer("layers.1.mlp.gate", "moe_router"),
    layer("lm_head", "lm_head"),
)


def expanded(config: dict[str, Any], layers: tuple[Choice, ...] = LAYERS) -> dict[str, str]:
    return {choice.layer_name: choice.precision for choice in expand(config, layers).choices}


@pytest.mark.parametrize(
    ("keys", "precision"),
    [
        ({"wq": "int4", "group_size": 32}, "int4_g32"),
        ({"wq": "int4", "group_size": 128}, "int4_g128"),
        ({"wq": "int4"}, "int4_g32"),
        ({"wq": "int4", "group_size": -1}, "int4_channel"),
        ({"wq": "INT8"}, "int8"),
        ({"wq": "int8", "group_size": 32}, "int8_g32"),
        ({"wq": "int6"}, "int6_g32"),
        ({"wq": "int3"}, "int3_g32"),
        ({"wq": "int2"}, "int2_g32"),
        ({"wq": "fp8"}, "fp8_e4m3"),
        ({"wq": "fp8", "group_size": 32}, "fp8_e4m3_g32"),
        ({"wq": "fp4", "group_size": 32}, "fp4_g32"),
        ({"wq": "mxfp8", "group_size": 32}, "mxfp8_e4m3"),
        ({"wq": "mxfp6"}, "mxfp6_e2m3"),
        ({"wq": "mxfp4"}, "mxfp4"),
        ({"wq": "bf16", "group_size": 32}, "bf16"),
        ({}, "bf16"),
    ],
)
def test_words_of_the_pipeline(keys: dict[str, Any], precision: str) -> None:
    assert expanded({"default": keys})["layers.0.q_proj"] == precision
    assert expanded({"overrides": [{"pattern": "layers.0.q_proj", **keys}]})["layers.0.q_proj"] == precision


def test_every_match_counts_in_order_and_later_keys_win() -> None:
    config = {
        "default": {"wq": "int8", "group_size": 32},
        "overrides": [
            {"pattern": "layers.1*", "wq": "int4"},
            {"pattern": "*.q_proj", "group_size": 64},
            {"pattern": "layers.10.*", "wq": "int2"},
        ],
    }
    plan = expand(config, LAYERS)
    assert expanded(config) == {
        "layers.0.q_proj": "int8_g64",
        "layers.1.q_proj": "int4_g64",
        "layers.10.q_proj": "int2_g64",  # * crosses dots, and layers.1* is layers.10 too
        "layers.1.mlp.gate": "bf16",
        "lm_head": "bf16",
    }
    assert [c.reason for c in plan.choices][2:4] == ["pattern layers.10.*", "moe_router, named by no pattern"]
    assert [c.budgeted for c in plan.choices] == [True, True, True, False, False]


def test_skip_keeps_what_has_16_bits_or_more() -> None:
    layers = (layer("a", precision="fp32"), layer("b", precision="int8"), layer("c"))
    config = {"default": {"wq": "int4", "skip": True}, "overrides": [{"pattern": "c", "skip": False}]}
    assert expanded(config, layers) == {"a": "fp32", "b": "bf16", "c": "int4_g32"}


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [
        ("lm_head", {"lm_head"}),
        ("*head", {"lm_head"}),
        ("*.mlp.gate", {"layers.1.mlp.gate"}),
        ("*", {"layers.0.q_proj", "layers.1.q_proj", "layers.10.q_proj"}),
        ("layers.1.*", {"layers.1.q_proj"}),
        ("l[am]*", {"lm_head", "layers.0.q_proj", "layers.1.q_proj", "layers.10.q_proj", "layers.1.mlp.gate"}),
    ],
)
def test_heads_and_routers_are_reached_by_patterns_that_name_them(pattern: str, reached: set[str]) -> None:
    found = expanded({"overrides": [{"pattern": pattern, "wq": "int4"}]})
    assert {name for name, precision in found.items() if precision == "int4_g32"} == reached


def test_the_default_reaches_no_head() -> None:
    found = expanded({"default": {"wq": "int4"}})
    assert found["lm_head"] == found["layers.1.mlp.gate"] == "bf16" and found["layers.0.q_proj"] == "int4_g32"


def test_a_layer_that_shares_its_storage_stays() -> None:
    layers = (*LAYERS[:1], layer("head", "lm_head", "fp32", tied_to="embed"))
    assert expanded({"overrides": [{"pattern": "head", "wq": "int4"}]}, layers)["head"] == "fp32"


def test_a_pattern_for_a_fused_module_reaches_its_parts() -> None:
    layers = tuple(layer(f"h.0.qkv_proj.{part}", f"attn_{part}") for part in "qkv")
    assert set(expanded({"overrides": [{"pattern": "h.0.qkv_proj", "wq": "int4"}]}, layers).values()) == {"int4_g32"}


def test_patterns_that_match_nothing_are_listed() -> None:
    config = {"overrides": [{"pattern": "layers.2.*"}, {"pattern": "*.q_proj"}, {"pattern": "Layers.*"}]}
    with pytest.raises(PlanError, match=r"got 2 that match none: layers\.2\.\*, Layers\.\*\. Correct or remove them"):
        expand(config, LAYERS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"default": {"wq": "nf4"}}, r"layers\.0\.q_proj: expected wq to be one of int2, .*, fp32, got 'nf4'"),
        ({"default": {"wq": "mxfp8", "group_size": 64}}, r"expected group_size 32 for mxfp8, got 64"),
        ({"default": {"wq": "int4", "group_size": "x"}}, r"expected group_size as a number, got 'x'"),
        ({"overrides": [{"wq": "int4"}]}, r'expected overrides with a "pattern", got'),
        ({"overrides": {"a": 1}}, r'expected \{"default": \{\.\.\.\}, "overrides": \[\.\.\.\]\}'),
        ({"default": None}, r'expected \{"default"'),
    ],
)
def test_refusals(config: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        expand(config, LAYERS)


def test_layers_of_a_checkpoint() -> None:
    layers = layers_of(open_checkpoint(TINY).inventory(AnalysisOptions()).weights)
    assert len(layers) == 29 and {choice.precision for choice in layers} == {"bf16"}
    plan = expand({"default": {"wq": "mxfp4"}, "overrides": [{"pattern": "*.v_proj", "wq": "int8"}]}, layers)
    assert [c.precision for c in plan.choices].count("int8") == 4
    assert [c.precision for c in plan.choices].count("mxfp4") == 24
    assert plan.policy == "layer-config" and plan.choices[-1].precision == "bf16"


GROUPED = ("int4_g32", "int8_g32", "fp8_e4m3_g32", "fp4_g32", "mxfp4", "mxfp8_e4m3", "mxfp6_e2m3", "bf16")


@given(st.lists(st.sampled_from(GROUPED), min_size=len(NAMES), max_size=len(NAMES)))
def test_what_is_exported_is_read_back(formats: list[str]) -> None:
    plan = plan_of({**dict(zip(NAMES, formats, strict=True)), NAMES[0]: "int4"})
    text = export_plan(plan, "layer-config").text
    layers = tuple(layer(choice.layer_name, choice.category) for choice in plan.choices)
    assert expanded(json.loads(text), layers) == {choice.layer_name: choice.precision for choice in plan.choices}


def test_a_scale_a_row_comes_back_as_the_groups_of_the_pipeline() -> None:
    assert "int8" in TARGETS["layer-config"].low
    text = export_plan(plan_of({"a": "int8", "b": "fp8", "c": "bf16"}), "layer-config").text
    found = expanded(json.loads(text), tuple(layer(name) for name in "abc"))
    assert found == {"a": "int8_g32", "b": "fp8_e4m3_g32", "c": "bf16"}
