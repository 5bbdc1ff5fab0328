import json

import pytest
import torch
from alpha_integrations.quantizers.torchao_export import export

from alpha_callbacks.precisions.registry import get_precision
from tests.conftest import noise
from tests.support.plan_examples import TARGETS, plan_of

pytest.importorskip("torchao")

TIES = 0.005  # share of the weights that differ: x * (1 / s) rounds other than x / s where x is the largest of a block


def test_the_library_writes_the_same() -> None:
    from torchao.core.config import config_from_dict, config_to_dict

    low = TARGETS["torchao"].low
    plan = plan_of({**{f"l.{i}": precision for i, precision in enumerate(low)}, "kept": "bf16"})
    content = json.loads(export(plan).text)
    assert config_to_dict(config_from_dict(content)) == content
    assert "kept" not in content["_data"]["fqn_to_config"]


@pytest.mark.parametrize("precision", TARGETS["torchao"].low)
def test_it_does_what_was_measured(precision: str) -> None:
    from torchao.core.config import config_from_dict
    from torchao.quantization import quantize_

    weight = noise(96, 64, seed=3) * 0.02
    model = torch.nn.Sequential(torch.nn.Linear(64, 96, bias=False))
    model[0].weight.data = weight.clone()
    text = export(plan_of({"0": precision}, rows=96)).text
    quantize_(model, config_from_dict(json.loads(text)), filter_fn=None)
    theirs = model[0].weight.dequantize()
    ours = get_precision(precision).round_trip(weight, float(weight.abs().max()))
    assert float((theirs != ours).float().mean()) <= (TIES if precision.startswith("int") else 0)
    error, expected = float((theirs - weight).norm()), float((ours - weight).norm())
    assert error == pytest.approx(expected, rel=1e-4)


def test_notes() -> None:
    dtype, unseen = export(plan_of({"fc": "int8"})).notes
    assert "in bf16 scales and quotients are rounded" in dtype and "is not at hand" in unseen
    served = export(plan_of({"l.0.q_proj": "int8", "fc": "int8"})).notes[-1]
    assert served.startswith("vLLM looks for fused layers under their own names") and "(e.g. l.0.q_proj)" in served
    assert "modules_to_not_convert=[]" in export(plan_of({"lm_head": "int8"})).notes[1]
