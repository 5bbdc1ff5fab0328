import json

import pytest
from alpha_integrations.quantizers import compressed_tensors_export
from alpha_integrations.quantizers.llm_compressor_export import export

from tests.support.plan_examples import NAMES, plan_of

yaml = pytest.importorskip("yaml")


def test_groups_are_those_of_compressed_tensors() -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationScheme

    formats = ("int4", "int8", "fp8", "bf16", "mxfp4", "nvfp4")
    plan = plan_of({name: formats[i % len(formats)] for i, name in enumerate(NAMES)})
    recipe = yaml.safe_load(export(plan).text)
    modifier = recipe["quant_stage"]["quant_modifiers"]["QuantizationModifier"]
    config = json.loads(compressed_tensors_export.export(plan).text)
    assert modifier == {"ignore": config["ignore"], "config_groups": config["config_groups"]}
    for group in modifier["config_groups"].values():
        assert QuantizationScheme.model_validate(group).targets == group["targets"]


def test_names_survive_yaml() -> None:
    names = ("yes", "1.0", "a: b", "- x", "#c", "null.fc", 'quo"te', "é")
    recipe = yaml.safe_load(export(plan_of({**dict.fromkeys(names, "bf16"), "fc": "int4"})).text)
    assert recipe["quant_stage"]["quant_modifiers"]["QuantizationModifier"]["ignore"] == list(names)
