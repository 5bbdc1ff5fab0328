"""The Fisher trace, against gradients taken plainly."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.evaluation.sensitivity import fisher_trace
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.planning.plan import Choice
from tests.support.language_models import licence
from tests.support.small_models import GROUPED, SMALL, build


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_language_model(EMBEDDED)


def gradients(model: nn.Module, windows: Tensor) -> dict[str, float]:
    """Return parameter name -> sum of squared gradients, mean over windows, of a copy of the model."""
    model = copy.deepcopy(model).eval().requires_grad_(True)
    names, parameters = zip(*model.named_parameters(), strict=True)
    sums = [0.0] * len(names)
    for window in windows:
        logits = model(input_ids=window[None]).logits[0]
        loss = nn.functional.cross_entropy(logits[:-1], window[1:])
        for i, gradient in enumerate(torch.autograd.grad(loss, parameters)):
            sums[i] += float(gradient.double().square().sum()) / len(windows)
    return dict(zip(names, sums, strict=True))


def tokens(count: int = 3, length: int = 16) -> Tensor:
    return torch.randint(0, 96, (count, length), generator=torch.Generator().manual_seed(0))


def test_against_plain_gradients(tiny: LanguageModel) -> None:
    windows, told = licence(tiny), list[tuple[int, int, str]]()
    traces = fisher_trace(tiny.model, windows, on_progress=lambda *step: told.append(step))
    plain = gradients(tiny.model, windows)
    assert list(traces) == list(matrices(tiny.model))
    for name, trace in traces.items():
        assert trace == pytest.approx(plain[f"{name}.weight"], rel=1e-4), name
    assert told == [(1, 2, "fisher"), (2, 2, "fisher")]


def test_labels_from_the_model_are_its_own_draws_and_leave_the_random_state(tiny: LanguageModel) -> None:
    windows, state = licence(tiny), torch.get_rng_state()
    traces = fisher_trace(tiny.model, windows, labels="sampled")
    assert torch.equal(state, torch.get_rng_state()) and traces == fisher_trace(tiny.model, windows, labels="sampled")
    draws, plain = torch.Generator().manual_seed(0), dict.fromkeys(traces, 0.0)
    model = copy.deepcopy(tiny.model).requires_grad_(True)
    weights = [model.get_parameter(f"{name}.weight") for name in traces]
    for window in windows:
        predicted = model(input_ids=window[None]).logits[0, :-1]
        labels = torch.multinomial(predicted.detach().softmax(-1), 1, generator=draws)[:, 0]
        found = torch.autograd.grad(nn.functional.cross_entropy(predicted, labels), weights)
        for name, gradient in zip(plain, found, strict=True):
            plain[name] += float(gradient.double().square().sum()) / len(windows)
    for name, trace in traces.items():
        assert trace == pytest.approx(plain[name], rel=1e-4), name
    assert traces != fisher_trace(tiny.model, windows)


def test_fused_transposed_and_tied_weights() -> None:
    model, windows = build("GPT2", vocab_size=96, n_embd=32, n_layer=2, n_head=2), tokens()
    traces, plain = fisher_trace(model, windows), gradients(model, windows)
    for block in range(2):
        fused = f"transformer.h.{block}.attn.c_attn"
        assert sum(traces[f"{fused}.{part}"] for part in "qkv") == pytest.approx(plain[f"{fused}.weight"], rel=1e-4)
        assert traces[f"{fused}.v"] > traces[f"{fused}.q"]
        for name in (f"transformer.h.{block}.attn.c_proj", f"transformer.h.{block}.mlp.c_fc"):
            assert traces[name] == pytest.approx(plain[f"{name}.weight"], rel=1e-4)
    assert traces["lm_head"] == pytest.approx(plain["transformer.wte.weight"], rel=1e-4)


def test_stacked_experts() -> None:
    model, windows = build("Mixtral", **GROUPED, num_local_experts=3), tokens()
    traces, plain = fisher_trace(model, windows), gradients(model, windows)
    for stack, parts in (("gate_up_proj", ("w1", "w3")), ("down_proj", ("w2",))):
        experts = [trace for name, trace in traces.items() if "layers.0" in name and name.endswith(parts)]
        assert len(experts) == 3 * len(parts)
        assert sum(experts) == pytest.approx(plain[f"model.layers.0.mlp.experts.{stack}"], rel=1e-4)


def test_grouped_parts_share_by_size() -> None:
    model, windows = build("GPTNeoX", **SMALL), tokens()
    fused = "gpt_neox.layers.1.attention.query_key_value"
    parts = [Choice(f"{fused}.{part}", f"attn_{part}", 32, 32, "int8") for part in "qkv"]
    traces = fisher_trace(model, windows, layers=parts)
    whole = gradients(model, windows)[f"{fused}.weight"]
    assert list(traces.values()) == [pytest.approx(whole / 3, rel=1e-4)] * 3


@pytest.mark.parametrize("training", [True, False])
def test_everything_is_left_as_found(training: bool) -> None:
    model: Any = build("Llama", **GROUPED, attention_dropout=0.5).train(training)
    model.model.layers[0].eval()
    model.model.embed_tokens.weight.requires_grad_(False)
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 and parameter.requires_grad else None

    def state() -> Any:
        parameters = list(model.named_parameters())
        return (
            [
                (name, p.detach().clone(), p.requires_grad, None if p.grad is None else p.grad.clone())
                for name, p in parameters
            ],
            [module.training for module in model.modules()],
            [dict(p._post_accumulate_grad_hooks or {}) for _, p in parameters],
            torch.get_rng_state(),
        )

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.equal(a, b)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(same, a, b))
        return bool(a == b)

    before = state()
    traces = fisher_trace(model, tokens())
    assert same(before, state())
    assert traces == fisher_trace(model.eval(), tokens())  # no dropout took part

    def stop(done: int, total: int, name: str) -> None:
        raise KeyboardInterrupt

    before = state()
    with pytest.raises(KeyboardInterrupt):
        fisher_trace(model, tokens(), on_progress=stop)
    assert same(before, state())


def test_inside_no_grad_and_with_frozen_weights() -> None:
    model = build("Llama", **GROUPED)
    expected = fisher_trace(model, tokens())
    with torch.no_grad():
        assert fisher_trace(model.requires_grad_(False), tokens()) == expected


def test_no_gradients_but_one_layers_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_callbacks.evaluation import sensitivity

    model, held = build("Llama", **GROUPED), list[int]()
    real = sensitivity._square_sum

    def counted(matrix: Tensor) -> float:
        held.append(sum(parameter.grad is not None for parameter in model.parameters()))
        return real(matrix)

    monkeypatch.setattr(sensitivity, "_square_sum", counted)
    fisher_trace(model, tokens(1))
    assert set(held) == {0}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_layers_of_another_model() -> None:
    with pytest.raises(PlanError, match="fc: expected a layer of the model"):
        fisher_trace(build("Llama", **GROUPED), tokens(), layers=[Choice("fc", "other", 4, 4, "int8")])
