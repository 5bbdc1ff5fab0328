from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.control.parameter_groups import bare_optimizer, layers_of_groups, split_per_layer
from alpha_callbacks.errors import OptionError
from alpha_callbacks.weights.trained_layers import trained_layers


class Block(nn.Module):
    """An embedding, a linear layer with bias, a norm and a head that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 6)
        self.fc = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.lm_head = nn.Linear(6, 8, bias=False)
        self.lm_head.weight = self.embed.weight


def named(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def test_every_layer_gets_a_group_with_the_options_of_the_group_that_it_was_in() -> None:
    model = Block()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.3}, {"params": other, "lr": 0.5}], lr=0.1)
    assert split_per_layer(model, optimizer) is optimizer
    assert named(model, optimizer) == [["embed.weight"], ["fc.weight"], ["fc.bias"], ["norm.weight", "norm.bias"]]
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.3)] * 2 + [(0.5, 0.01)] * 2
    assert layers_of_groups(trained_layers(model), [optimizer]) == [["lm_head", "fc", "fc", None]]


def test_names_of_parameters_stay_with_them() -> None:
    model = Block()
    optimizer = split_per_layer(model, torch.optim.AdamW(model.named_parameters()))  # type: ignore[arg-type]
    assert [g["param_names"] for g in optimizer.param_groups] == named(model, optimizer)


def test_splitting_changes_nothing_about_the_training() -> None:
    finals = []
    for split in (False, True):
        torch.manual_seed(0)
        model = Block()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        if split:
            split_per_layer(model, optimizer)
        for _ in range(3):
            model.norm(model.fc(model.embed.weight)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        finals.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*finals)


def test_too_late_to_split() -> None:
    model = Block()
    optimizer = torch.optim.AdamW(model.parameters())
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    with pytest.raises(OptionError, match="expected one without a scheduler"):
        split_per_layer(model, optimizer)


@pytest.mark.parametrize(
    "kind", ["Adagrad", "SGD", "Adam", "RMSprop", "NAdam", "RAdam", "Adamax", "Rprop", "Adafactor"]
)
def test_any_optimizer_of_torch_can_be_split(kind: str) -> None:
    """Adagrad has a state before its first step."""
    model = Block()
    optimizer = split_per_layer(model, getattr(torch.optim, kind)(model.parameters()))
    assert named(model, optimizer) == [["embed.weight"], ["fc.weight", "fc.bias"], ["norm.weight", "norm.bias"]]
    model.fc.weight.sum().backward()
    optimizer.step()


def test_groups_that_cannot_be_told_apart_are_refused() -> None:
    model = Block()
    layers = trained_layers(model)
    with pytest.raises(
        OptionError, match=r"group 0: expected the parameters of fc, got those of 2 layers \(fc, lm_head"
    ):
        layers_of_groups(layers, [torch.optim.SGD(model.parameters(), lr=0.1)])
    apart: list[dict[str, Any]] = [{"params": [model.embed.weight]}, {"params": [model.fc.weight, model.norm.weight]}]
    with pytest.raises(OptionError, match="group 1: expected the parameters of fc, got others beside them"):
        layers_of_groups(layers, [torch.optim.SGD(apart, lr=0.1)])
    with pytest.raises(OptionError, match="expected a parameter group of fc, which is trained, got none"):
        layers_of_groups(layers, [torch.optim.SGD([model.embed.weight], lr=0.1)])


def test_biases_and_norms_of_many_layers_may_share_a_group() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    groups = [{"params": [model[0].weight]}, {"params": [model[1].weight]}]
    rest = {"params": [p for p in model.parameters() if p.ndim < 2]}
    optimizer = torch.optim.SGD([*groups, rest], lr=0.1)
    assert layers_of_groups(trained_layers(model), [optimizer]) == [["0", "1", None]]


def test_frozen_layers_take_no_part() -> None:
    model = Block()
    model.fc.requires_grad_(False)
    assert [layer.name for layer in trained_layers(model)] == ["lm_head"]


class Wrapper(torch.optim.Optimizer):
    """Like Accelerate's: an optimizer that holds another and has not called the constructor of its base."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer


def test_wrappers_are_opened_and_deepspeed_is_refused() -> None:
    inner = torch.optim.SGD([nn.Parameter(torch.ones(2, 2))], lr=0.1)
    assert bare_optimizer(Wrapper(Wrapper(inner))) is inner
    zero = type("DeepSpeedZeroOptimizer", (), {"__module__": "deepspeed.runtime.zero.stage3"})()
    for refused in (zero, Wrapper(zero), type("DeepSpeedOptimizerWrapper", (Wrapper,), {})(inner)):
        with pytest.raises(OptionError, match="got DeepSpeed's copies"):
            bare_optimizer(refused)
    with pytest.raises(OptionError, match=r"expected a torch.optim.Optimizer, got Linear"):
        bare_optimizer(nn.Linear(2, 2))
