"""Asked of the real exporters."""

import re
from dataclasses import replace

import pytest

from alpha_callbacks.planning.takers import held_formats, say_formats, say_plan, takers
from alpha_callbacks.precisions.registry import get_precision
from tests.support.plan_examples import plan_of


def test_which_targets_can_take_formats() -> None:
    held = held_formats(("int8", "int4_g32", "nf4"))
    assert held["bitsandbytes"] == ("nf4",)
    assert held["compressed-tensors"] == held["torchao"] == held["llm-compressor"] == ("int8", "int4_g32")
    assert "gguf" not in held and held_formats(("int8", "gguf_q8_0"), gguf=True) == {"gguf": ("gguf_q8_0",)}


@pytest.mark.parametrize(
    ("formats", "gguf", "words", "taken"),
    [
        (("bf16", "int8", "fp8"), False, "A plan of int8 and fp8_e4m3 can be exported to compressed-tensors, ", True),
        (("int8", "nf4"), False, "No target takes all of int8 and nf4: .*; bitsandbytes takes nf4; ", False),
        (("fp8", "int4"), True, "No target takes fp8_e4m3 or int4_g32: .* -p bf16,gguf:q8_0,gguf:q4_0", False),
        (("mxfp8_e5m2",), False, "No target takes mxfp8_e5m2.*: a plan of them can be evaluated, not exported", False),
    ],
)
def test_what_a_scan_says_first(formats: tuple[str, ...], gguf: bool, words: str, taken: bool) -> None:
    sentence, found = say_formats([get_precision(name).name for name in formats], gguf=gguf)
    assert found is taken and re.match(words, sentence), sentence


def test_what_a_recommendation_says_last() -> None:
    plan = replace(plan_of({"layers.0.mlp.up_proj": "int4", "lm_head": "bf16"}), model="not looked at")
    sentence, taken = say_plan(plan)
    assert taken and "compressed-tensors" in sentence and "quantize --format` writes compressed-tensors" in sentence
    assert "convert_hf_to_gguf" not in sentence
    sentence, taken = say_plan(plan_of({"layers.0.mlp.up_proj": "gguf_q8_0"}))  # of a folder: there is no GGUF file yet
    assert taken and "convert_hf_to_gguf.py" in sentence and "writes" not in sentence
    sentence, taken = say_plan(plan_of({"blk.0.ffn_up": "gguf_q8_0"}))
    assert taken and "quantize --format` writes gguf." in sentence and "convert" not in sentence
    assert takers(plan)["bitsandbytes"].startswith("bitsandbytes: cannot hold int4_g32")
    sentence, taken = say_plan(plan_of({"blk.0.ffn_up": "int4"}))
    assert (
        not taken
        and sentence.startswith("No target takes this plan")
        and "scan with --precisions gguf:q8_0" in sentence
    )
    sentence, taken = say_plan(plan_of({"fc": "bf16"}))
    assert not taken and "nothing to quantize" in sentence
