import json

import pytest
from alpha_integrations.quantizers.bitsandbytes_export import export, skip_patterns, skips

from tests.support.plan_examples import NAMES, plan_of

pytest.importorskip("bitsandbytes")


def test_the_whole_file() -> None:
    content = json.loads(export(plan_of({"a.fc": "nf4", "a.proj": "bf16"})).text)
    assert content == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "llm_int8_skip_modules": ["a.proj", "lm_head"],
    }


def test_the_configuration_is_read() -> None:
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(**json.loads(export(plan_of({"a.fc": "nf4", "lm_head": "bf16"})).text))
    assert config.quantization_method() == "nf4" and config.bnb_4bit_compute_dtype is torch.bfloat16
    assert config.llm_int8_skip_modules == ["lm_head"]


def test_the_values_are_those_that_were_measured() -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    from alpha_callbacks.precisions.registry import get_precision

    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    theirs = dequantize_4bit(*quantize_4bit(weight, quant_type="nf4", compress_statistics=False))
    assert torch.equal(theirs, get_precision("nf4").round_trip(weight, float(weight.abs().max())))


@pytest.mark.parametrize("entry", [*NAMES, "", "a.*", "[", "fc$"])
def test_our_idea_of_its_matching_is_right(entry: str) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    for name in NAMES:
        try:
            theirs = not should_convert_module(name, [entry])
        except Exception:  # it compiles the entry as it is: such an entry must not be written
            theirs = False
        assert skips(entry, name) == theirs


def test_plain_names_where_they_do_no_harm() -> None:
    assert skip_patterns(["layers.1.fc"], ["layers.10.fc"]) == ["layers.1.fc"]
    assert skip_patterns(["lm_head"], ["model.lm_head"]) == ["^lm_head$"]
    assert skip_patterns(["a.fc"], ["aXfc"]) == [r"^a\.fc$"]
