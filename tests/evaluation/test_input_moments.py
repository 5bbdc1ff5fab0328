"""Second moments of inputs, against those of activations that are kept whole."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation import input_moments
from alpha_callbacks.evaluation.input_moments import input_products, input_squares
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from tests.support.language_models import licence


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_language_model(EMBEDDED)


def linear(tiny: LanguageModel) -> dict[str, nn.Module]:
    return {name: module for name, module in tiny.model.named_modules() if isinstance(module, nn.Linear)}


def kept(modules: dict[str, nn.Module], tiny: LanguageModel, windows: Tensor) -> dict[str, Tensor]:
    """Return name -> all inputs, shape (tokens, in_features), fp64."""
    rows: dict[str, list[Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _, given, __, name=name: rows[name].append(given[0][0].double()))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        for window in windows:
            tiny.model(input_ids=window[None])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in rows.items()}


def test_against_whole_activations(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, modules, told = licence(tiny), linear(tiny), list[tuple[int, int, str]]()
    inputs = kept(modules, tiny, windows)
    squares = input_squares(tiny.model, modules, windows, on_progress=lambda *step: told.append(step))
    assert list(squares) == list(modules) and told == [(1, 2, "inputs"), (2, 2, "inputs")]
    monkeypatch.setattr(
        input_moments, "available_memory", lambda: 16 * 192 * 192 * 7
    )  # so that it takes several passes
    told.clear()
    products = dict(input_products(tiny.model, modules, windows, on_progress=lambda *step: told.append(step)))
    assert list(products) == list(modules) and told[-1][0] == told[-1][1] == len(told) > 4
    for name, rows in inputs.items():
        torch.testing.assert_close(squares[name].double(), rows.square().mean(0), rtol=1e-5, atol=1e-9)
        expected = rows.T @ rows
        torch.testing.assert_close(
            products[name].double(), expected, rtol=1e-4, atol=float(expected.diagonal().max()) * 1e-5
        )
    assert not any(module._forward_pre_hooks for module in modules.values())


def test_modules_that_never_run(tiny: LanguageModel) -> None:
    modules: dict[str, nn.Module] = {"unused": nn.Linear(4, 2)}
    assert input_squares(tiny.model, modules, licence(tiny)) == {}
    assert dict(input_products(tiny.model, modules, licence(tiny)))["unused"].tolist() == [[0.0] * 4] * 4


def test_a_model_that_needs_more_than_tokens() -> None:
    class Seq2Seq(nn.Linear):
        def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
            return super().forward(input_ids + decoder_input_ids)

    with pytest.raises(PlanError, match="Seq2Seq: expected a model that takes token ids alone, got TypeError"):
        input_squares(Seq2Seq(4, 2), {}, torch.zeros(1, 4))


@pytest.mark.parametrize("gather", [input_squares, lambda *given: dict(input_products(*given))])
def test_inputs_that_are_not_finite(tiny: LanguageModel, gather: Any) -> None:
    name, module = next(iter(linear(tiny).items()))
    hook = module.register_forward_pre_hook(lambda _, given: (given[0] * torch.nan,), prepend=True)
    try:
        with pytest.raises(PlanError, match=r"q_proj: expected finite inputs, got nan or inf on the calibration text"):
            gather(tiny.model, {name: module}, licence(tiny))
    finally:
        hook.remove()
