"""Control in a plain loop: against an independent implementation, under schedulers, resumed, and what is refused."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from alpha_callbacks.control.control_callback import ControlCallback
from alpha_callbacks.control.layerwise_control import AS_PUBLISHED, LayerwiseControl
from alpha_callbacks.control.parameter_groups import split_per_layer
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions

WIDTH, LAYERS, STEPS = 52, 5, 9
EXACT = replace(AS_PUBLISHED, solver="exact")
RAMPED: dict[str, Any] = dict(rule="llr", every=4, ramp=3, until=1.0)


def new_model() -> nn.Module:
    torch.manual_seed(0)
    shapes = [(WIDTH, WIDTH + 8 * n) for n in range(LAYERS)]
    return nn.ModuleList([nn.Linear(b, a) for a, b in shapes])


def loss(model: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    inputs = [torch.randn(4, layer.in_features, generator=generator) for layer in model]  # type: ignore[union-attr, attr-defined]
    return torch.stack([layer(x).square().mean() for layer, x in zip(model, inputs, strict=True)]).sum()  # type: ignore[arg-type]


def adamw(model: nn.Module, **options: Any) -> Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, **options)
    return split_per_layer(model, optimizer)


def cosine(optimizer: Optimizer) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=1e-4)  # computes each value from the last one


def train(
    model: nn.Module, optimizer: Optimizer, scheduler: Any, control: LayerwiseControl | None, steps: range
) -> list[list[float]]:
    """Train, and return the learning rates between the steps."""
    seen = []
    for step in steps:
        if control is not None:
            control.update(step)
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        loss(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return seen


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def authors_alpha(weight: Tensor) -> float:
    """PL_Alpha_Hill as the code of the papers computes it (pl_fitting="median", xmin_pos=2), in NumPy."""
    eigs = np.sort(np.linalg.svd(weight.detach().double().numpy(), compute_uv=False) ** 2)
    i = len(eigs) // 2
    n = len(eigs) - i
    return float(1 + n / (np.log(eigs[i:]).sum() - n * np.log(eigs[i])))


@pytest.mark.parametrize("name", ["tempbalance", "llr", "alphadecay"])
def test_training_equals_an_independent_implementation(name: str) -> None:
    """Alphas in NumPy, the map by interpolation, the ramp and the schedule by hand, set in the groups before a step."""
    model, twin = new_model(), new_model()
    optimizer, other = adamw(model), adamw(twin)
    with LayerwiseControl(model, optimizer, name, every=4, ramp=3, until=1.0, options=EXACT) as control:
        train(model, optimizer, lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)), control, range(STEPS))
        assert control.last is not None and control.last.step == 8
    setting, low, high = {"tempbalance": ("lr", 0.5, 1.5), "llr": ("lr", 1, 3)}.get(name, ("weight_decay", 0.6666, 5))
    base = {"lr": 0.01, "weight_decay": 0.1}
    start, target = np.ones(LAYERS), np.ones(LAYERS)
    for step in range(STEPS):
        if step % 4 == 0:
            start = target.copy() if step else start
            alphas = np.array([authors_alpha(layer.weight) for layer in twin])  # type: ignore[union-attr, attr-defined]
            tuned = slice(None) if name == "llr" else slice(1, -1)
            extremes = [alphas[tuned].min(), alphas[tuned].max()]
            target = np.ones(LAYERS)
            target[tuned] = np.interp(alphas[tuned], extremes, [low, high])
        share = min(1.0, (step % 4 + 1) / 3)
        for group, factor in zip(other.param_groups, start + (target - start) * share, strict=True):
            group.update(lr=base["lr"] / (1 + step), weight_decay=base["weight_decay"])
            group[setting] *= factor
        loss(twin, step).backward()  # type: ignore[no-untyped-call]
        other.step()
        other.zero_grad()
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-5, atol=1e-7)


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine": cosine,
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=4),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS + 1),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.5)], [3]
    ),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_schedulers_see_their_own_values_and_every_step_the_multiplied_ones(kind: str) -> None:
    plain, controlled = new_model(), new_model()
    before, after = adamw(plain), adamw(controlled)
    with LayerwiseControl(controlled, after, **RAMPED) as control:
        inside: list[list[float]] = []
        after.register_step_pre_hook(lambda o, args, kwargs: inside.append([g["lr"] for g in o.param_groups]))
        factors: list[list[float]] = []
        after.register_step_pre_hook(lambda o, args, kwargs: factors.append(list(control.multipliers.values())))
        seen = train(controlled, after, SCHEDULERS[kind](after), control, range(STEPS))
    assert seen == train(plain, before, SCHEDULERS[kind](before), None, range(STEPS))
    assert inside == [[a * b for a, b in zip(*row, strict=True)] for row in zip(seen, factors, strict=True)]
    assert inside[0] != seen[0]


@pytest.mark.parametrize("cut", [2, 4, 5, 7, 8])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cut: int) -> None:
    """Stopped in mid-ramp, before and after a decision; saved and loaded as tensors and plain values only."""
    whole, optimizer = new_model(), adamw(new_model())
    optimizer = adamw(whole)
    with LayerwiseControl(whole, optimizer, **RAMPED) as control:
        train(whole, optimizer, cosine(optimizer), control, range(STEPS))
        expected = control.multipliers

    first, optimizer = new_model(), adamw(new_model())
    optimizer = adamw(first)
    scheduler, file = cosine(optimizer), io.BytesIO()
    with LayerwiseControl(first, optimizer, **RAMPED) as control:
        train(first, optimizer, scheduler, control, range(cut))
    torch.save([first.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)

    second = new_model()
    optimizer = adamw(second)
    scheduler = cosine(optimizer)
    with LayerwiseControl(second, optimizer, **RAMPED) as control:  # before the states are loaded: they replace groups
        for part, state in zip((second, optimizer, scheduler), states, strict=True):
            part.load_state_dict(state)
        train(second, optimizer, scheduler, control, range(cut, STEPS))
        assert control.multipliers == expected
    assert torch.equal(weights(second), weights(whole))


def test_decisions_come_when_they_are_due_and_stop_in_time() -> None:
    model = new_model()
    optimizer = adamw(model)
    with LayerwiseControl(model, optimizer, "llr", every=3, total_steps=50) as control:
        steps = [step for step in range(40) if control.update(step)]
    assert steps == [0, 3, 6, 9]


def test_another_rule_decides_at_once_and_starts_from_what_is_in_force() -> None:
    model = new_model()
    optimizer = adamw(model)
    with LayerwiseControl(model, optimizer, "tempbalance") as control:
        control.update(0)
        before = control.multipliers
    with LayerwiseControl(model, optimizer, "tempbalance", every=7) as control:  # the same rule, at other times
        assert control.update(5) is None and control.multipliers == before
    with LayerwiseControl(model, optimizer, "llr", until=1.0, ramp=2) as control:
        decision = control.update(5)
        assert decision is not None
        halfway = {name: (before[name] + decision.multipliers[name]) / 2 for name in before}
        assert control.multipliers == pytest.approx(halfway)


def test_a_control_that_finds_no_earlier_decision_in_mid_training_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = new_model()
    with caplog.at_level(logging.WARNING), LayerwiseControl(model, adamw(model), "tempbalance") as control:
        control.update(7)
        control.update(8)
    text = "tempbalance begins at step 7: the optimizer's state has no decision of an earlier step"
    assert caplog.text.count(text) == 1


def test_a_second_training_with_the_same_optimizer_begins_with_a_decision() -> None:
    model = new_model()
    optimizer = adamw(model)
    for _ in range(2):
        with LayerwiseControl(model, optimizer, "tempbalance", every=4) as control:
            assert [step for step in range(9) if control.update(step)] == [0, 4, 8]


def test_two_controls_of_different_settings_work_together_and_of_one_are_refused() -> None:
    model = new_model()
    optimizer = adamw(model)
    with LayerwiseControl(model, optimizer, "tempbalance") as rates, LayerwiseControl(model, optimizer, "alphadecay"):
        with pytest.raises(OptionError, match="expected one control of lr, got a second"):
            LayerwiseControl(model, optimizer, "llr", total_steps=9)
        rates.close()
        LayerwiseControl(model, optimizer, "llr", total_steps=9).close()


@pytest.mark.parametrize("kind", ["tensor", "fused", "foreach", "capturable"])
def test_kinds_of_steps(kind: str) -> None:
    """The groups share one tensor as learning rate: it must not be multiplied in place."""
    options: dict[str, Any] = {"fused": dict(fused=True), "foreach": dict(foreach=True)}.get(kind, {})
    plain, model = new_model(), new_model()
    expected, optimizer = adamw(plain), adamw(model, **options)
    if kind in ("tensor", "capturable"):
        shared = torch.tensor(0.01, dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = shared
    for net, own in ((plain, expected), (model, optimizer)):
        with LayerwiseControl(net, own, "tempbalance", every=2) as control:
            for step in range(4):
                control.update(step)
                loss(net, step).backward()  # type: ignore[no-untyped-call]
                own.step()
                own.zero_grad()
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    assert {float(group["lr"]) for group in optimizer.param_groups} == {0.01}


def test_muon_beside_adamw() -> None:
    model = new_model()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    muon = split_per_layer(model, torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1))
    other = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], lr=0.01)
    seen: list[list[float]] = []
    with LayerwiseControl(model, [muon, other], "tempbalance") as control:
        muon.register_step_pre_hook(lambda o, args, kwargs: seen.append([g["lr"] for g in o.param_groups]))
        decision = control.update(0)
        assert decision is not None
        loss(model, 0).backward()  # type: ignore[no-untyped-call]
        muon.step()
        other.step()
    assert seen == [[0.02 * value for value in decision.multipliers.values()]]
    assert [group["lr"] for group in (*muon.param_groups, *other.param_groups)] == [0.02] * LAYERS + [0.01]


def test_an_error_within_a_step_leaves_no_multiplied_value_behind() -> None:
    model = new_model()
    optimizer = adamw(model)

    def closure() -> float:
        raise RuntimeError("out of memory")

    with LayerwiseControl(model, optimizer, "tempbalance") as control:
        control.update(0)
        for leave in (control.restore, lambda: None):
            with pytest.raises(RuntimeError):
                optimizer.step(closure)
            leave()
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_what_is_saved_after_an_error_within_a_step_is_not_multiplied() -> None:
    model = new_model()
    optimizer = adamw(model)

    def interrupted() -> float:
        raise KeyboardInterrupt

    with LayerwiseControl(model, optimizer, "tempbalance") as control:
        control.update(0)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step(interrupted)
        assert len({group["lr"] for group in optimizer.param_groups}) > 1
        assert {group["lr"] for group in optimizer.state_dict()["param_groups"]} == {0.01}


def test_a_step_that_the_scaler_skips_is_no_step() -> None:
    model = new_model()
    optimizer, scaler = adamw(model), torch.amp.GradScaler("cpu")
    with LayerwiseControl(model, optimizer, "tempbalance") as control:
        control.update(0)
        scaler.scale(loss(model, 0) * float("inf")).backward()
        before = weights(model)
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(weights(model), before)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_layers_without_alpha_are_left_alone_and_told(caplog: pytest.LogCaptureFixture) -> None:
    model = new_model()
    model[2].weight.data[0, 0] = float("nan")  # type: ignore[index, union-attr]
    optimizer = adamw(model)
    with caplog.at_level(logging.WARNING), LayerwiseControl(model, optimizer, "llr", until=1.0) as control:
        decision = control.update(0)
    assert decision is not None and decision.multipliers["2"] == 1.0
    assert sorted(decision.multipliers.values())[-1] == 3.0
    assert "no alpha of 2 (the stored weight holds nan or inf): its lr is left as it is" in caplog.text


def test_a_rule_that_finds_no_layer_says_so(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(4)))
    optimizer = adamw(model)
    with caplog.at_level(logging.WARNING), LayerwiseControl(model, optimizer, "llr", until=1.0) as control:
        control.update(0)
    assert "llr leaves the lr of every layer as it is: fewer than two layers with 50 eigenvalues" in caplog.text
    with LayerwiseControl(model, adamw(model), "llr", until=1.0, min_eigs=16) as control:
        assert max(control.update(0).multipliers.values()) == 3.0  # type: ignore[union-attr]


def test_options_and_optimizers_that_cannot_be_used() -> None:
    model = new_model()
    with pytest.raises(OptionError, match="options: expected one precision to decide by, got fp32, bf16"):
        LayerwiseControl(model, adamw(model), "tempbalance", options=AnalysisOptions(precisions=("fp32", "bf16")))
    with pytest.raises(OptionError, match="evry: no constant of a rule. Expected some of every, ramp"):
        LayerwiseControl(model, adamw(model), "tempbalance", evry=10)
    with pytest.raises(OptionError, match="total_steps: expected the number of optimizer steps"):
        LayerwiseControl(model, adamw(model), "llr")
    for rule, total in (("llr", 0), ("tempbalance", 0), ("llr", -1), ("llr", 10.5), ("tempbalance", "100")):
        for make in (
            lambda rule, total: LayerwiseControl(model, adamw(model), rule, total_steps=total),
            lambda rule, total: ControlCallback(rule, total_steps=total),
        ):
            with pytest.raises(OptionError, match=f"total_steps: expected a whole number of .* from 1, got {total!r}"):
                make(rule, total)
    with pytest.raises(OptionError, match="Split the groups before training"):
        LayerwiseControl(model, torch.optim.SGD(model.parameters(), lr=0.1), "tempbalance")
    no_decay = split_per_layer(model, torch.optim.AdamW(model.parameters(), weight_decay=0.0))
    with pytest.raises(OptionError, match="expected a weight_decay above 0"):
        LayerwiseControl(model, no_decay, "alphadecay")
    own = split_per_layer(model, torch.optim.Rprop(model.parameters()))
    with pytest.raises(OptionError, match="expected one that uses lr in every step, got Rprop"):
        LayerwiseControl(model, own, "tempbalance")
    relative = adamw(model)
    for group in relative.param_groups:
        group["lr"] = None  # as Adafactor has it
    with pytest.raises(OptionError, match="expected groups with a value of lr"):
        LayerwiseControl(model, relative, "tempbalance")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(OptionError, match="expected layers that are trained, found none"):
        LayerwiseControl(model, torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), "tempbalance")


def test_a_trainer_that_makes_no_step_is_no_error() -> None:
    model, callback = new_model(), ControlCallback("llr")
    callback._begin(model, adamw(model), 0, total_steps=0, beside=None, offers=(), step_key="step")
    assert callback.last is not None and callback.last.step == 0
    callback._end()


def test_an_optimizer_whose_hooks_are_never_called_is_noticed() -> None:
    model = new_model()
    with LayerwiseControl(model, adamw(model), "tempbalance") as control:
        control.update(0)
        control.update(99)
        with pytest.raises(OptionError, match="expected its step hooks to be called, got none in 100 steps"):
            control.update(100)


def test_groups_added_later_are_left_alone_and_told(caplog: pytest.LogCaptureFixture) -> None:
    model = new_model()
    optimizer = adamw(model)
    with LayerwiseControl(model, optimizer, "tempbalance") as control:
        control.update(0)
        before = control.multipliers
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(60, 60))]})
        with caplog.at_level(logging.WARNING):
            optimizer.step()
        assert caplog.text.count("1 parameter groups were added") == 1 and control.multipliers == before
        del optimizer.param_groups[0]
        with pytest.raises(OptionError, match="expected its 6 parameter groups, got 5"):
            optimizer.step()
