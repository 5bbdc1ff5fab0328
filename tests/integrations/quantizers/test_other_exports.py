"""AutoRound, GPTQModel, MLX-LM and ModelOpt: whole files, and shapes that they would skip.

How the libraries themselves read such files is shown by benchmarks/export_targets.py: they are not installed in CI.
"""

import json
from typing import Any

import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import export_plan
from tests.support.plan_examples import plan_of


def content(target: str, **precisions: str) -> Any:
    plan = plan_of({name.replace("__", "."): precision for name, precision in precisions.items()})
    return json.loads(export_plan(plan, target).text)


def test_auto_round() -> None:
    assert content("auto-round", a__fc="int4", a__up="int8:channel", a__down="bf16", lm_head="bf16") == {
        "a.fc": {"bits": 4, "group_size": 32, "sym": True, "data_type": "int"},
        "a.up": {"bits": 8, "group_size": -1, "sym": True, "data_type": "int"},
        "a.down": {"bits": 16, "data_type": "float"},
    }
    with pytest.raises(PlanError, match=r"auto-round: cannot hold int4_g32 .* sides are multiples of 32"):
        export_plan(plan_of({"a.fc": "int4"}, rows=48), "auto-round")
    parts = {f"layers.0.self_attn.qkv_proj.{part}": "int4" for part in "qkv"}
    assert json.loads(export_plan(plan_of(parts, rows=32), "auto-round").text)
    with pytest.raises(PlanError, match="sides are multiples of 32"):  # 3 * 48
        export_plan(plan_of(parts, rows=48), "auto-round")
    assert json.loads(export_plan(plan_of(dict(list(parts.items())[:2]), rows=48), "auto-round").text), "96 in all"


def test_gptqmodel() -> None:
    found = content("gptqmodel", a__fc="int4", a__up="int4", a__v="int3:g64", a__down="bf16")
    assert {key: found[key] for key in ("bits", "group_size", "sym")} == {"bits": 4, "group_size": 32, "sym": True}
    assert list(found["dynamic"]) == [r"+:^a\.fc$", r"+:^a\.up$", r"+:^a\.v$", r"-:^a\.down$"]
    assert found["dynamic"][r"+:^a\.v$"] == {"bits": 3, "group_size": 64, "sym": True} and "lm_head" not in found
    assert content("gptqmodel", lm_head="int4")["lm_head"] is True


def test_mlx() -> None:
    found = content("mlx", a__fc="int4:asym:g64", a__up="mxfp4:rceil", a__down="bf16")["quantization"]
    assert found == {
        "group_size": 32, "bits": 4, "mode": "mxfp4",
        "a.fc": {"group_size": 64, "bits": 4, "mode": "affine"},
        "a.up": {"group_size": 32, "bits": 4, "mode": "mxfp4"}, "a.down": False,
    }  # fmt: skip
    notes = export_plan(plan_of({"a.fc": "int4:asym"}), "mlx").notes
    assert "q_group_size=32, q_bits=4, q_mode='affine'" in notes[0]


def test_modelopt() -> None:
    mixed = content("modelopt", a__fc="nvfp4", a__up="fp8", a__down="bf16")["quantization"]
    assert mixed["quant_algo"] == "MIXED_PRECISION" and mixed["exclude_modules"] == ["a.down"]
    assert mixed["quantized_layers"]["a.fc"] == {"quant_algo": "W4A16_NVFP4", "group_size": 16}
    assert mixed["quantized_layers"]["a.up"] == {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}
    alone = content("modelopt", a__fc="int8", a__down="bf16")["quantization"]
    assert alone == {"quant_algo": "W8A16", "kv_cache_quant_algo": None, "exclude_modules": ["a.down"]}
    assert any("quantize activations too" in n for n in export_plan(plan_of({"a.fc": "fp8"}), "modelopt").notes)
    parts = {f"layers.0.self_attn.qkv_proj.{part}": "nvfp4" for part in "qkv"}
    assert any("1 fused modules" in note for note in export_plan(plan_of(parts), "modelopt").notes)


@pytest.mark.parametrize(
    ("target", "format_"), [("gptqmodel", "int4:g128"), ("mlx", "int4:asym:g128"), ("modelopt", "nvfp4")]
)
def test_rows_that_do_not_divide_are_refused(target: str, format_: str) -> None:
    with pytest.raises(PlanError, match=f"{target}: expected in_features that is a multiple of "):
        export_plan(plan_of({"a.fc": format_}, columns=72), target)
