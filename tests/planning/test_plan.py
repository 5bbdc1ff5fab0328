import json
from pathlib import Path

import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice, Plan, module_name
from alpha_callbacks.planning.plan_json import plan_text, read_plan, write_plan

QKV = "model.layers.0.self_attn.qkv_proj"


def choice(name: str, precision: str = "int4_g32", **changes: object) -> Choice:
    return Choice(name, "mlp_up", 64, 128, precision, **changes)  # type: ignore[arg-type]


PLAN = Plan(
    (
        choice("a", reason='because of "commas", and\nlines'),
        choice("b", "bf16", budgeted=False),
        choice("c", "fp8_e4m3_block128", tied_to="a"),
    ),
    "measured",
    {"avg_bits": 4.5, "candidates": ["int4_g32"]},
    "here",
)


def test_average_bits_and_bytes() -> None:
    fp8 = 8 + 16 / (64 * 128)
    assert PLAN.average_bits() == pytest.approx((4.5 + fp8) / 2)
    assert PLAN.average_bits(budgeted=False) == pytest.approx((4.5 + fp8 + 16) / 3)
    assert PLAN.nbytes == pytest.approx((4.5 + 16) * 64 * 128 / 8)
    assert PLAN.uncounted == ()
    alone = Plan((choice("lm_head", "bf16", tied_to="embed"), choice("a")))
    assert alone.uncounted == ("embed",) and alone.nbytes == pytest.approx(4.5 * 64 * 128 / 8)
    assert PLAN.choices[0].low_bit and not PLAN.choices[1].low_bit


def test_json_round_trip(tmp_path: Path) -> None:
    write_plan(PLAN, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == PLAN
    content = json.loads(plan_text(PLAN))
    assert (content["format"], content["version"]) == ("alpha-callbacks-plan", 1)
    assert content["layers"][0]["effective_bits"] == 4.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, '"format": "alpha-callbacks-plan"'),
        ({"version": 2}, "expected version 1, got 2. Update"),
        ({"layers": []}, "at least one layer"),
        ({"layers": [{"layer_name": "a"}]}, "expected layers as"),
        ({"layers": [{**json.loads(plan_text(PLAN))["layers"][0], "precision": "int5"}]}, "int5"),
        ({"layers": json.loads(plan_text(PLAN))["layers"] * 2}, "expected each layer once, got a twice"),
        ({"model": None, "layers": None}, "expected layers as"),
    ],
)
def test_a_plan_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({**json.loads(plan_text(PLAN)), **change}))
    with pytest.raises(PlanError, match=message):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_no_plan_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError, match=r"plan.json: expected"):
        read_plan(tmp_path / "plan.json")


def test_an_alias_in_a_plan_means_what_it_says_everywhere() -> None:
    assert choice("a", "int4").precision == "int4_g32" and choice("a", "int8:channel").precision == "int8"


LAYER = {"layer_name": "a", "category": "", "out_features": 64, "in_features": 8, "precision": "int8"}


@pytest.mark.parametrize("layers", [{"a": 1}, [[1]], [{**LAYER, "out_features": "64"}], [{**LAYER, "precision": 4}]])
def test_a_mistyped_plan_is_named(tmp_path: Path, layers: object) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({**json.loads(plan_text(PLAN)), "layers": layers}))
    with pytest.raises(PlanError, match="expected layers as"):
        read_plan(tmp_path / "plan.json")


def test_parts_of_a_fused_matrix_are_one_module() -> None:
    fused = Plan(tuple(choice(f"{QKV}.{part}") for part in "qkv"))
    assert list(fused.modules()) == [QKV]
    odd = Plan((choice(f"{QKV}.q"), choice(f"{QKV}.k", "int8")))
    with pytest.raises(PlanError, match=f"{QKV}: expected one precision .* int4_g32 .* int8"):
        odd.modules()


@pytest.mark.parametrize(
    "name", ["encoder.block.0.layer.0.SelfAttention.q", "model.layers.0.mlp.gate", "q", "lm_head", "h.0.attn.c_attn.x"]
)
def test_layers_that_are_modules_keep_their_names(name: str) -> None:
    assert module_name(name) == name
