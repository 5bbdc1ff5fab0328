"""Under PEFT, "merged" analyses what merge_and_unload would leave, "base" what is below the adapters."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.analysis.parallel import analyze_weights
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.weights.module_weights import module_inventory

peft = pytest.importorskip("peft")


def alphas(module: nn.Module, adapters: Any = "base") -> dict[str, float]:
    options = AnalysisOptions(precisions=("fp32",), adapters=adapters)
    weights = module_inventory(module, options).weights
    return {r.layer_name: r.rows[0].alpha for r in analyze_weights(weights, options)}


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"up": nn.Linear(48, 64), "down": nn.Linear(64, 48), "head": nn.Linear(48, 40)})


def adapted(**options: Any) -> Any:
    config = peft.LoraConfig(r=4, target_modules=["up", "down"], init_lora_weights=False, **options)
    return peft.get_peft_model(plain(), config)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}], ids=["lora", "dora", "rslora"])
def test_merged_is_what_merging_leaves(options: dict[str, Any]) -> None:
    model = adapted(**options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged = alphas(model, "merged")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(getattr(module, "merged", False) for module in model.modules())
    assert alphas(model) == alphas(plain()) != merged
    assert merged == alphas(copy.deepcopy(model).merge_and_unload())


def test_a_step_of_the_adapter_is_seen() -> None:
    model = adapted()
    with Monitor(AnalysisOptions(precisions=("fp32",), adapters="merged"), sinks=[]) as monitor:
        monitor.log(model, 0)
        with torch.no_grad():
            model.base_model.model["up"].lora_B["default"].weight.add_(0.05)
        snapshot = monitor.log(model, 1)
    assert snapshot is not None and snapshot.reused == 2
    assert {r.layer_name: r.alpha for r in snapshot.table} == alphas(model, "merged")
