"""Sensitivities from an optimizer, against sums of its own states; and their file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.errors import PlanError, ResultsError
from alpha_callbacks.evaluation.trained_sensitivities import optimizer_sensitivities
from alpha_callbacks.planning.sensitivities_file import SENSITIVITIES, read_sensitivities, write_sensitivities
from tests.support.small_models import SMALL, build

ADAMS: list[tuple[Any, str]] = [
    (torch.optim.AdamW, "exp_avg_sq"), (torch.optim.NAdam, "exp_avg_sq"), (torch.optim.RMSprop, "square_avg"),
]  # fmt: skip


def stepped(model: nn.Module, make: Any, **options: Any) -> Any:
    optimizer = make([p for p in model.parameters() if p.requires_grad], lr=1e-3, **options)
    for seed in range(2):
        for i, parameter in enumerate(model.parameters()):
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + i))
            parameter.grad = drawn * (i + 1) if parameter.requires_grad else None
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(("make", "key"), ADAMS)
def test_the_sum_over_each_layer(make: Any, key: str) -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    optimizer = stepped(model, make)
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = optimizer_sensitivities(model, [optimizer])
    assert list(found) == ["0", "1"]
    for name, value in found.items():
        state = optimizer.state[model.get_parameter(f"{name}.weight")]
        assert value == pytest.approx(float(state[key].double().sum()), rel=1e-6)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_parts_of_fused_and_transposed_weights() -> None:
    model = build("GPT2", **SMALL)
    optimizer = stepped(model, torch.optim.AdamW)
    found = optimizer_sensitivities(model, [optimizer])
    fused = model.get_parameter("transformer.h.0.attn.c_attn.weight")
    moments = optimizer.state[fused]["exp_avg_sq"].double()
    third = fused.shape[1] // 3
    for i, part in enumerate("qkv"):
        name = next(n for n in found if "h.0.attn.c_attn" in n and n.endswith(part))
        assert found[name] == pytest.approx(float(moments[:, i * third : (i + 1) * third].sum()), rel=1e-6)


def test_frozen_layers_are_left_out_and_an_optimizer_without_moments_is_told() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    model[0].requires_grad_(False)
    assert list(optimizer_sensitivities(model, [stepped(model, torch.optim.Adam)])) == ["1"]
    with pytest.raises(
        PlanError, match="expected an optimizer with mean squares of gradients .* got none for any of 2"
    ):
        optimizer_sensitivities(model, [stepped(model, torch.optim.SGD)])


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.RMSprop])
def test_a_layer_that_was_frozen_for_long_counts_as_much(make: Any) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    optimizer = make(model.parameters())
    for step in range(30):
        for layer in model:
            layer.weight.grad = torch.ones(8, 8) if layer is model[0] or step == 29 else None
        optimizer.step()
    found = optimizer_sensitivities(model, [optimizer])
    assert found["1"] == pytest.approx(found["0"], rel=1e-3)


def test_means_that_are_no_numbers_are_told() -> None:
    model = nn.Sequential(nn.Linear(16, 24), nn.Linear(24, 16))
    optimizer = stepped(model, torch.optim.AdamW)
    optimizer.state[model[1].weight]["exp_avg_sq"][3, 5] = float("nan")
    with pytest.raises(PlanError, match="expected finite mean squares of gradients, got nan for 1"):
        optimizer_sensitivities(model, [optimizer])


def test_a_computed_weight_costs_its_own_layer_only() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    optimizer = stepped(model, torch.optim.AdamW)
    expected = optimizer_sensitivities(model, [None, optimizer])
    nn.utils.parametrizations.weight_norm(model[0])
    assert optimizer_sensitivities(model, [optimizer]) == {"1": expected["1"]}


def test_the_file_comes_back_under_the_names_of_a_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = {"model.layers.0.self_attn.q_proj": 0.5, "model.layers.0.mlp.up_proj": 2e-9, "=odd, name": 1.0}
    write_sensitivities(found, tmp_path)
    assert read_sensitivities(tmp_path, found) == found
    named = read_sensitivities(tmp_path / SENSITIVITIES, ["blk.0.attn_q", "module.model.layers.0.mlp.up_proj", "other"])
    assert named == {"blk.0.attn_q": 0.5, "module.model.layers.0.mlp.up_proj": 2e-9}
    assert (
        "1 of its 3 layers count for nothing: the scan lacks them, or names of two are one (=odd, name)." in caplog.text
    )
    caplog.clear()
    write_sensitivities({**found, **dict.fromkeys("abcd", 1.0)}, tmp_path)
    read_sensitivities(tmp_path, found)
    assert (
        "4 of its 7 layers count for nothing: the scan lacks them, or names of two are one (a, b, c, ...)."
        in caplog.text
    )
    caplog.clear()
    write_sensitivities({**found, "module.model.layers.0.mlp.up_proj": 3.0}, tmp_path)
    assert read_sensitivities(tmp_path, found) == found
    assert "1 of its 4 layers count for nothing: " in caplog.text and "(module.model." in caplog.text


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, PlanError, "expected the sensitivities of a training run, found nothing there"),
        ("layer_name,sensitivity\nfc,-1\n", PlanError, "fc: expected a sensitivity, 0 or .*, got '-1'"),
        ("layer_name,sensitivity\nfc,nan\n", PlanError, "fc: expected a sensitivity, 0 or .*, got 'nan'"),
        ("layer_name,sensitivity\nfc,many\n", PlanError, "fc: expected a sensitivity, 0 or .*, got 'many'"),
        ("layer_name,sensitivity\nfc,1e-320\n", PlanError, "fc: expected a sensitivity, 0 or 1e-100 to 1e\\+100, got"),
        ("layer_name,sensitivity\nfc,0\n", PlanError, "expected a sensitivity above 0, got 0 for all 1 layers"),
        ("layer_name,sensitivity\nfc,1\nfc,2\n", PlanError, "expected each layer once, got 2 lines of 1 layers"),
        ("layer_name,sensitivity\nother,1\n", PlanError, "expected layers of the scan, got none of its 1"),
        ("layer_name\nfc\n", ResultsError, "expected the column sensitivity, got layer_name"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str | None, kind: type[Exception], message: str) -> None:
    if text is not None:
        (tmp_path / SENSITIVITIES).write_text(text)
    with pytest.raises(kind, match=message):
        read_sensitivities(tmp_path, ["fc"])
