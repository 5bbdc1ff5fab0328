"""KL and perplexity of plans, against a plain implementation."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation import evaluate as module
from alpha_callbacks.evaluation.evaluate import compare, evaluate, uniform_plans
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.evaluation.random_plans import random_plans
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.module_weights import module_inventory
from tests.support.language_models import licence, plan_of
from tests.support.small_models import GROUPED, SMALL, build

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_language_model(EMBEDDED)


@pytest.fixture(autouse=True)
def _unchanged(tiny: LanguageModel) -> Iterator[None]:
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    random_state = torch.get_rng_state()
    yield
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


@torch.no_grad()
def logits(model: nn.Module, windows: Tensor) -> Tensor:
    return torch.stack([model(input_ids=window[None]).logits[0].double() for window in windows])


def quantized(plan: Plan) -> nn.Module:
    """Return another copy of the model with the plan applied in the plainest way."""
    model = load_language_model(EMBEDDED).model
    found = matrices(model)
    for choice in plan.choices:
        weight = found[choice.layer_name]
        weight.copy_(get_precision(choice.precision).round_trip(weight.clone(), float(weight.abs().max())))
    return model


def test_against_a_plain_implementation(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FP64_ELEMENTS", 1024 * 7)  # several blocks of positions
    plan, windows = plan_of(tiny.model, "int3", "int4"), licence(tiny)
    base, _, _, score = evaluate(tiny.model, plan, windows)
    p, q = logits(tiny.model, windows), logits(quantized(plan), windows)
    kls = F.kl_div(q[:, :-1].log_softmax(-1), p[:, :-1].log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert score.kl == pytest.approx(float(kls.mean()), rel=1e-9)
    assert score.kl_sem == pytest.approx(float(kls.flatten().std() / kls.numel() ** 0.5), rel=1e-9)
    assert score.top1 == pytest.approx(float((p[:, :-1].argmax(-1) == q[:, :-1].argmax(-1)).double().mean()))
    ordered = kls.flatten().sort().values
    assert score.kl_q99 == pytest.approx(float(ordered[math.ceil(0.99 * (len(ordered) - 1))]), rel=1e-9)
    assert score.kl_q999 == pytest.approx(float(ordered[-1]), rel=1e-9) and base.top1 == 1
    assert torch.allclose(score.kl_of_tokens, kls.flatten(), rtol=1e-9)
    for judged, each in ((base, p), (score, q)):
        loss = F.cross_entropy(each[:, :-1].flatten(0, 1), windows[:, 1:].flatten())
        assert judged.perplexity == pytest.approx(float(loss.exp()), rel=1e-9)
    assert (base.name, base.kl, base.average_bits) == ("base", 0.0, 32.0)
    assert (score.name, score.average_bits) == ("plan", plan.average_bits())
    assert score.kl > 0.01


def test_a_plan_that_changes_nothing_has_no_divergence_at_all(tiny: LanguageModel) -> None:
    for same in ("fp32", "bf16"):  # the tiny Llama is stored in bf16
        base, score = compare(tiny.model, {"same": plan_of(tiny.model, same)}, licence(tiny))
        assert (score.kl, score.kl_sem, score.perplexity) == (0.0, 0.0, base.perplexity)


def test_layers_by_their_names_in_a_gguf_file(tiny: LanguageModel) -> None:
    pytest.importorskip("gguf")
    plan = plan_of(tiny.model, "int3", "int4")
    renamed = {"self_attn.o_proj": "attn_output", "self_attn.": "attn_", "mlp.": "ffn_", "_proj": ""}
    choices = []
    for choice in plan.choices:
        name = choice.layer_name.replace("lm_head", "output").replace("model.layers.", "blk.")
        for long, short in renamed.items():
            name = name.replace(long, short)
        choices.append(replace(choice, layer_name=name))
    ours, theirs = (compare(tiny.model, {"it": each}, licence(tiny))[1] for each in (plan, Plan(tuple(choices))))
    assert choices[0].layer_name == "blk.0.attn_q"
    assert (ours.kl, ours.average_bits) == (theirs.kl, theirs.average_bits)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("GPT2", {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 2}),  # transposed, fused, tied
        ("GPTNeoX", SMALL),  # fused by heads
        ("Phi3", {**GROUPED, "pad_token_id": 0}),  # fused by parts
        ("Mixtral", {**GROUPED, "num_local_experts": 3}),  # stacked
    ],
)
def test_fused_and_stacked_weights_change_and_come_back(family: str, options: dict[str, Any]) -> None:
    with torch.random.fork_rng(devices=[]):
        model = build(family, **options)
    layers = module_inventory(model, AnalysisOptions()).weights
    choices = [
        Choice(w.layer_name, w.category, w.out_features, w.in_features, "bf16" if w.category == "lm_head" else "int4")
        for w in layers
    ]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    windows = torch.arange(24).view(2, 12)
    base, score = compare(model, {"int4": Plan(tuple(choices))}, windows)
    assert base.kl == 0 < score.kl
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_order_and_progress(tiny: LanguageModel) -> None:
    plan, told = plan_of(tiny.model, "int4", "int8", "int4", "int3"), list[tuple[int, int, str]]()
    scores = evaluate(tiny.model, plan, licence(tiny), random=2, seed=1, on_progress=lambda *step: told.append(step))
    names = ["base", "uniform int3_g32", "uniform int4_g32", "uniform int8", "plan", "random 1", "random 2"]
    assert [score.name for score in scores] == names
    assert told == [(i + 1, 14, names[i // 2]) for i in range(14)]
    three, four, eight = (score.kl for score in scores[1:4])
    assert three > four > eight > 0
    for score in scores[4:]:
        assert score.average_bits == pytest.approx(plan.average_bits(), abs=0.01)
        assert score.seconds > 0


def test_several_plans_are_scored_on_the_same_tokens(tiny: LanguageModel) -> None:
    three, four = plan_of(tiny.model, "int3", "int4"), plan_of(tiny.model, "int4", "int8")
    scores = evaluate(tiny.model, {"a": three, "b": four}, licence(tiny), random=1)
    names = [
        "base",
        "uniform int3_g32",
        "uniform int4_g32",
        "uniform int8",
        "a",
        "b",
        "random 1 for a",
        "random 1 for b",
    ]
    assert [score.name for score in scores] == names
    alone = evaluate(tiny.model, four, licence(tiny))[3]
    assert replace(alone, seconds=0, name="b") == replace(scores[5], seconds=0)
    fewer = replace(four, choices=four.choices[1:])
    with pytest.raises(PlanError, match=r"b: expected the layers of a, .* is in one of them only"):
        evaluate(tiny.model, {"a": three, "b": fewer}, licence(tiny))
    for name in ("base", "uniform int8"):
        with pytest.raises(PlanError, match=f"{name}: expected another name of a plan"):
            evaluate(tiny.model, {"a": three, name: four}, licence(tiny))


def test_a_plan_that_cannot_be_dealt_anew_is_scored_without_random_ones(
    tiny: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    whole = plan_of(tiny.model, "int4")
    names = ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj")  # which are dealt as one
    picked = dict(zip(names, ("int4_g32", "int8"), strict=True))
    uneven = replace(
        whole,
        choices=tuple(
            replace(c, precision=picked.get(c.layer_name, "bf16"), budgeted=c.layer_name in picked)
            for c in whole.choices
        ),
    )
    scores = evaluate(tiny.model, uneven, licence(tiny), random=2)
    assert [score.name for score in scores] == ["base", "uniform int4_g32", "uniform int8", "plan"]
    assert "random plans: expected formats that can be dealt out again" in caplog.text


def test_nothing_to_compare_is_said(tiny: LanguageModel) -> None:
    with pytest.raises(PlanError, match="plans: expected at least one plan"):
        compare(tiny.model, {}, licence(tiny))


def test_a_single_token_has_no_standard_error(tiny: LanguageModel) -> None:
    with pytest.raises(PlanError, match="at least 2 tokens to predict, got 1. Ask for more --tokens"):
        evaluate(tiny.model, plan_of(tiny.model, "int4"), licence(tiny, tokens=2))


def test_little_memory_gives_the_same_numbers(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, windows = plan_of(tiny.model, "int3", "int4"), licence(tiny)
    scores = evaluate(tiny.model, plan, windows)
    monkeypatch.setattr(module, "available_memory", lambda: 0)
    for a, b in zip(scores, evaluate(tiny.model, plan, windows), strict=True):
        assert replace(a, seconds=0) == replace(b, seconds=0)


def test_uniform_plans_leave_what_a_format_cannot_store(tiny: LanguageModel) -> None:
    pytest.importorskip("gguf")
    mixed = plan_of(tiny.model, "gguf:tq2_0", "int4")  # the former has 256 weights a block
    plan = replace(
        mixed, choices=tuple(replace(c, precision="int4") if c.in_features == 192 else c for c in mixed.choices)
    )
    uniform = uniform_plans(plan)
    assert list(uniform) == ["uniform gguf_tq2_0", "uniform int4_g32"]
    for choice in uniform["uniform gguf_tq2_0"].choices:
        if choice.budgeted:
            assert choice.format.name == ("gguf_tq2_0" if choice.in_features == 512 else "int4_g32")


def test_uniform_and_random_plans_ask_for_no_groups_that_do_not_divide_rows() -> None:
    shapes = {"a.up_proj": 192, "b.up_proj": 256, "c.up_proj": 256, "d.up_proj": 192}
    picks = ("int4", "int4:g128", "int4", "int8")
    plan = Plan(tuple(Choice(n, "mlp_up", 64, c, p) for (n, c), p in zip(shapes.items(), picks, strict=True)))
    for other in (*uniform_plans(plan).values(), *random_plans(plan, 3, tolerance=0.5)):
        for choice in other.choices:
            assert choice.precision != "int4_g128" or choice.in_features == 256
    odd = replace(plan, choices=(replace(plan.choices[0], precision="int4:g128"), *plan.choices[1:]))
    assert len(random_plans(odd, 1, tolerance=1.0)) == 1, "a plan made by hand may have such a layer already"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_weights_are_restored_after_an_error_in_the_middle(tiny: LanguageModel, error: type[BaseException]) -> None:
    def stop(done: int, total: int, name: str) -> None:
        if name == "plan":
            raise error

    with pytest.raises(error):
        evaluate(tiny.model, plan_of(tiny.model, "int3", "int4"), licence(tiny), on_progress=stop)


def test_a_plan_of_another_model(tiny: LanguageModel) -> None:
    plan = plan_of(tiny.model, "int4")
    other = replace(plan, choices=(replace(plan.choices[0], layer_name="encoder.fc"), *plan.choices[1:]))
    with pytest.raises(PlanError, match=r"encoder\.fc: expected a layer of the model"):
        evaluate(tiny.model, other, licence(tiny))
