import json

import pytest
from alpha_integrations.quantizers.compressed_tensors_export import export, scheme_of

from tests.support.plan_examples import compressed_tensors, plan_of

pytest.importorskip("compressed_tensors")

# precision -> the library's preset for the same weights, as far as there is one
PRESETS = {
    "fp8": "FP8_DYNAMIC", "fp8:tensor": "FP8", "fp8:block128": "FP8_BLOCK", "int8": "W8A8", "int8:g128": "W8A16",
    "int4:g128": "W4A16", "int4:g128:asym": "W4A16_ASYM", "int3:g128": "W3A16", "int2:g128": "W2A16",
    "int6:g128": "W6A16", "mxfp4": "MXFP4A16", "mxfp6": "MXFP6A16", "mxfp8": "MXFP8A16", "nvfp4": "NVFP4A16",
}  # fmt: skip
FORMATS = {
    "fp8": "naive-quantized", "int8": "pack-quantized", "int4": "pack-quantized", "mxfp4": "mxfp4-pack-quantized",
    "mxfp6": "mxfp6-pack-quantized", "mxfp8": "mxfp8-quantized", "nvfp4": "nvfp4-pack-quantized",
}  # fmt: skip


@pytest.mark.parametrize(("precision", "preset"), PRESETS.items())
def test_schemes_are_those_of_the_presets(precision: str, preset: str) -> None:
    from compressed_tensors.quantization import QuantizationArgs, preset_name_to_scheme

    encoding = plan_of({"a": precision}).choices[0].format.encoding
    assert encoding is not None
    ours, theirs = QuantizationArgs.model_validate(scheme_of(encoding)), preset_name_to_scheme(preset, ["a"]).weights
    fields = ("num_bits", "type", "strategy", "group_size", "block_structure", "symmetric", "dynamic", "scale_dtype")
    assert {field: getattr(ours, field) for field in fields} == {field: getattr(theirs, field) for field in fields}


@pytest.mark.parametrize(("precision", "expected"), FORMATS.items())
def test_formats_are_those_that_the_library_infers(precision: str, expected: str) -> None:
    import torch
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationConfig

    content = json.loads(export(plan_of({"a": precision})).text)
    scheme = QuantizationConfig.model_validate(content).config_groups["group_0"]
    assert infer_module_format(torch.nn.Linear, scheme) == scheme.format == content["format"] == expected


def test_the_whole_configuration() -> None:
    plan = plan_of({"a": "int4", "b": "bf16", "c": "fp8", "d": "int4", "e": "fp16"})
    assert json.loads(export(plan).text) == {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision",
        "quantization_status": "compressed",
        "ignore": ["b", "e"],
        "kv_cache_scheme": None,
        "config_groups": {
            "group_0": {
                "targets": ["a", "d"],
                "weights": {
                    "num_bits": 4, "type": "int", "symmetric": True, "dynamic": False, "strategy": "group",
                    "group_size": 32,
                },
                "input_activations": None,
                "output_activations": None,
                "format": "pack-quantized",
            },
            "group_1": {
                "targets": ["c"],
                "weights": {
                    "num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, "strategy": "channel",
                },
                "input_activations": None,
                "output_activations": None,
                "format": "naive-quantized",
            },
        },
    }  # fmt: skip


def test_each_layer_gets_its_own_scheme() -> None:
    plan = plan_of({"l.1": "int4", "l.10": "int8", "l.11": "mxfp8", "l.2": "nvfp4", "l.3": "bf16", "l.4": "fp8"})
    assert compressed_tensors(export(plan), plan) == {
        "l.1": "int4 group", "l.10": "int8 channel", "l.11": "float8 group", "l.2": "float4 tensor_group",
        "l.4": "float8 channel",
    }  # fmt: skip


def test_notes() -> None:
    plan = plan_of({"l.0.q_proj": "int4", "l.0.k_proj": "fp8", "l.1.q_proj": "mxfp8", "l.1.k_proj": "mxfp8"})
    fp8, mxfp8, fused, unseen = export(plan).notes
    assert "vLLM's FP8 kernels quantize activations too" in fp8 and "exactly 1.75 * 2^n" in mxfp8
    assert "1 groups have several, e.g. that of l.0.q_proj. Recommend without --untied." in fused
    assert export(plan_of({"a": "int4"})).notes == (unseen,) and "is not at hand" in unseen
    assert "zero points" in export(plan_of({"a": "int4:asym"})).notes[0]
