"""An inventory is kept for as long as the model holds the same tensors."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.live_weights import LiveWeights

OPTIONS = AnalysisOptions()


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 13))


def test_new_values_are_read_without_a_new_list() -> None:
    model, listed = net(), LiveWeights()
    first = listed.of(model, OPTIONS)
    with torch.no_grad():
        model[0].weight.fill_(3.0)
    model[1].weight.data = torch.ones(13, 12)  # as DeepSpeed and others put new values in
    assert listed.of(model, OPTIONS) is first
    assert [float(weight.rows(0, 2).mean()) for weight in first.weights] == [3.0, 1.0]


def replace(model: nn.Sequential) -> None:
    model[1].weight = nn.Parameter(torch.zeros(13, 12))


def tie(model: nn.Sequential) -> None:
    model.append(nn.Linear(12, 12))
    model[2].weight = model[0].weight


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "another parameter": replace,
    "another type": lambda model: model.half(),
    "another module": lambda model: model.append(nn.Linear(13, 12)),
    "tied": tie,
    "weight_norm": lambda model: nn.utils.parametrizations.weight_norm(model[0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change: str) -> None:
    model, listed = net(), LiveWeights()
    first = listed.of(model, OPTIONS)
    CHANGES[change](model)
    again = listed.of(model, OPTIONS)
    assert again is not first
    assert [w.layer_name for w in again.weights] == [w.layer_name for w in LiveWeights().of(model, OPTIONS).weights]


def test_other_options_and_other_models_have_lists_of_their_own() -> None:
    model, listed = net(), LiveWeights()
    assert len(listed.of(model, OPTIONS).weights) == 2
    assert len(listed.of(model, AnalysisOptions(include="1")).weights) == 1
    assert len(listed.of(nn.Linear(12, 12), OPTIONS).weights) == 1


def test_nothing_is_kept_after_the_run_or_copied() -> None:
    model, listed = net(), LiveWeights()
    first = listed.of(model, OPTIONS)
    assert copy.deepcopy(listed).of(model, OPTIONS) is not first
    listed.forget()
    assert listed.of(model, OPTIONS) is not first


def test_the_model_is_not_kept_alive() -> None:
    model, listed = net(), LiveWeights()
    listed.of(model, OPTIONS)
    weight = weakref.ref(model[0].weight)
    del model
    assert weight() is None


def test_adapters_are_looked_at_each_time() -> None:
    peft = pytest.importorskip("peft")
    model, listed = peft.get_peft_model(net(), peft.LoraConfig(target_modules=["0"], r=2)), LiveWeights()
    first = listed.of(model, OPTIONS)
    assert [weight.layer_name for weight in first.weights][:2] == ["0", "0 (update)"]
    model.merge_adapter()
    assert listed.of(model, OPTIONS) is not first
