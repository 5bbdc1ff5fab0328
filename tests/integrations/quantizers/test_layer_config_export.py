import json
from fnmatch import fnmatchcase

import pytest
from alpha_integrations.quantizers.layer_config_export import escape, export

from tests.support.plan_examples import NAMES, layer_config, plan_of

WORDS = {
    "int2": "int2 32", "int3": "int3 32", "int4": "int4 32", "int4:g128": "int4 128", "int6": "int6 32",
    "int8:g32": "int8 32", "int8": "int8 32", "fp8": "fp8 32", "fp8:g64": "fp8 64", "fp4": "fp4 32",
    "mxfp8": "mxfp8 32", "mxfp6": "mxfp6 32", "mxfp4": "mxfp4 32",
}  # fmt: skip


@pytest.mark.parametrize(("precision", "word"), WORDS.items())
def test_words(precision: str, word: str) -> None:
    plan = plan_of({"a": precision, "b": "fp16"})
    assert layer_config(export(plan), plan) == {"a": word}


def test_the_whole_file() -> None:
    assert json.loads(export(plan_of({"layers[0].fc": "int4", "lm_head": "bf16"})).text) == {
        "default": {"wq": "bf16", "aq": "bf16", "group_size": 32},
        "overrides": [
            {"pattern": "layers[[]0].fc", "wq": "int4", "group_size": 32},
            {"pattern": "lm_head", "skip": True},
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_matches_its_own_name_only(name: str) -> None:
    assert [other for other in NAMES if fnmatchcase(other, escape(name))] == [name]


def test_notes_say_what_the_pipeline_does_otherwise() -> None:
    by_row, unseen = export(plan_of({"a": "int8", "b": "fp8"})).notes
    assert by_row == "fp8_e4m3, int8: measured with one scale per row; the pipeline uses groups of 32, which is finer."
    assert export(plan_of({"a": "int8:g32", "b": "mxfp4"})).notes == (unseen,) and "is not at hand" in unseen


def test_a_fused_module_is_one_entry() -> None:
    plan = plan_of({f"h.0.qkv_proj.{part}": "int4" for part in "qkv"})
    assert [entry["pattern"] for entry in json.loads(export(plan).text)["overrides"]] == ["h.0.qkv_proj"]
