"""Which cost of a rounded layer gives the better plan? Paired tests on trained models, two texts each.

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    python -m benchmarks.byte_llama
    python -m benchmarks.costs           # about ten minutes of one core

Costs: `measured` (squared relative error), `fisher` (trace of the Fisher information of the text's own labels times
mean squared error), `sampled` (the same with labels drawn from the model), `activations` (squared error weighted by the
mean square of each input channel, relative to the weights': llama.cpp's imatrix), `channels` (squared error weighted by
mean squares of inputs and of gradients at outputs, drawn labels), `adamw` (trace of AdamW's running means of squared
gradients at the end of training times mean squared error: no text). Gradients and inputs are of 1,024 tokens of another
text. All plans of a budget have the same mean of effective bits within 0.01 (byte-llama: 0.02), with layers tied as
vLLM fuses them. KL is measured on the same tokens for all, and compared with that of `fisher` in blocks of tokens.
Writes costs.txt and costs.csv into benchmarks/results.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.evaluation.evaluate import compare
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.evaluation.paired import paired_difference
from alpha_callbacks.evaluation.sensitivity import fisher_trace
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.knapsack import TOLERANCE
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.planning.policies import measured_costs, spend
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.weights.layer_names import block_index
from alpha_callbacks.weights.module_weights import module_inventory
from benchmarks import byte_llama, texts
from benchmarks.result_lines import run_models
from scripts.fetch_real_weights import GENSIM, SMOLLM2, fetch
from scripts.make_smollm2_folder import make_folder

BUDGETS = {"3/4 bit": ("int3_g32", "int4_g32", 4.0), "4/8 bit": ("int4_g32", "int8_g32", 6.5)}
REFERENCE = "fisher"
CALIBRATION = 1024  # tokens
_FEWER = ("fisher", "sampled", "activations", "channels")  # for the larger model: docs/evidence.md has `measured`


@dataclass(frozen=True)
class Line:
    """KL of the plan of one cost on one text.

    Attributes:
        model: its name.
        budget: its name.
        text: its name.
        cost: its name.
        average_bits: of the plan.
        kl: KL(base || plan), nats a token.
        difference: that minus the KL of the reference cost, on the same tokens.
        low: end of the 95 % interval of the difference.
        high: the other end.
        tokens: predicted.
    """

    model: str
    budget: str
    text: str
    cost: str
    average_bits: float
    kl: float
    difference: float
    low: float
    high: float
    tokens: int


@dataclass(frozen=True)
class Subject:
    """A model, and the windows of tokens that it is calibrated and judged on."""

    name: str
    model: nn.Module
    calibration: Tensor
    judged: Mapping[str, Tensor]
    budgets: tuple[str, ...]
    costs: tuple[str, ...] = ("measured", "fisher", "sampled", "activations", "channels")
    slack: float = TOLERANCE  # of the mean of bits; few layers leave gaps between the means that can be reached
    trained: Mapping[str, float] | None = None  # what AdamW had learnt of each layer


def table_of(model: nn.Module, formats: tuple[str, ...]) -> Table:
    """Return the measured errors of every layer; no spectra, which no cost here looks at."""
    rows, found = [], matrices(model)
    for weight in module_inventory(model, AnalysisOptions()).weights:
        if weight.category == "lm_head" or weight.layer_name not in found:
            continue
        values = found[weight.layer_name].float()
        plain = Row(
            weight.layer_name, weight.category, block_index(weight.layer_name), weight.out_features,
            weight.in_features, "float32", "", "fp32", "ok", "", alpha=2.0, frobenius_norm=float(values.norm()),
            relative_error=0.0,
        )  # fmt: skip
        rows += [plain, *(replace(plain, precision=p, relative_error=_error(values, p)) for p in formats)]
    return Table.from_rows(rows, ("fp32", *formats))


def rounding(values: Tensor, precision: str) -> Tensor:
    """Return Q(W) - W."""
    return get_precision(precision).round_trip(values, float(values.abs().max())).float() - values


def _error(values: Tensor, precision: str) -> float:
    return float(rounding(values, precision).norm() / values.norm())


@contextmanager
def moments(model: nn.Module) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield (mean squares of inputs, of gradients at outputs) by name of linear layer, summed over all passes."""
    inputs: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def take(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            square = given[0].detach().flatten(0, -2).square().sum(0)
            inputs[name] = inputs.get(name, torch.zeros_like(square)) + square
            if output.requires_grad:
                output.register_hook(lambda gradient: learn(gradient))

        def learn(gradient: Tensor) -> None:
            square = gradient.detach().flatten(0, -2).square().sum(0)
            gradients[name] = gradients.get(name, torch.zeros_like(square)) + square

        return take

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_hook(watch(name)) for name, module in linear.items()]
    try:
        yield inputs, gradients
    finally:
        for hook in hooks:
            hook.remove()


def costs_of(subject: Subject, about: PlanProblem) -> dict[str, np.ndarray]:
    """Return name -> costs, shape (layers, candidates)."""
    layers = [layer.first for layer in about.layers]
    fisher = fisher_trace(subject.model, subject.calibration, layers=layers)
    with moments(subject.model) as (inputs, gradients):
        sampled = fisher_trace(subject.model, subject.calibration, layers=layers, labels="sampled")
    found = matrices(subject.model)
    activations, channels = (np.zeros((len(layers), len(about.candidates))) for _ in range(2))
    for i, layer in enumerate(layers):
        values, x, d = found[layer.layer_name].float(), inputs[layer.layer_name], gradients[layer.layer_name]
        for j, candidate in enumerate(about.candidates[:-1]):
            squares = rounding(values, candidate).square()
            activations[i, j] = float((squares @ x).sum() / (values.square() @ x).sum())
            channels[i, j] = float(d @ (squares @ x))
    return {
        "measured": measured_costs(about), "fisher": measured_costs(about, fisher=fisher),
        "sampled": measured_costs(about, fisher=sampled), "activations": activations, "channels": channels,
        **({} if subject.trained is None else {"adamw": measured_costs(about, fisher=subject.trained)}),
    }  # fmt: skip


def judge(subject: Subject) -> Iterator[Line]:
    """Yield the lines of one model."""
    for budget in subject.budgets:
        low, high, average = BUDGETS[budget]
        table = table_of(subject.model, (low, high))
        choices = [_choice(layer, low) for layer in table.layers]
        usable, highs = [True] * len(choices), ["bf16"] * len(choices)
        about = PlanProblem(table.layers, units(choices), (low, high, HIGH), "fp32", usable, highs)
        plans = {}
        costs = costs_of(subject, about)
        for name in (*subject.costs, *(["adamw"] if subject.trained else [])):
            picks = spend(about, costs[name], average, slack=subject.slack)
            plans[name] = Plan(tuple(replace(c, precision=pick) for c, pick in zip(choices, picks, strict=True)), name)
            assert abs(plans[name].average_bits() - average) <= subject.slack
        for text, windows in subject.judged.items():
            scores = {score.name: score for score in compare(subject.model, plans, windows)}
            for name in plans:
                ours, theirs = (scores[each].kl_of_tokens for each in (name, REFERENCE))
                d = paired_difference(ours, theirs)
                yield Line(
                    subject.name, budget, text, name, plans[name].average_bits(), scores[name].kl, d.mean, d.low,
                    d.high, len(ours),
                )  # fmt: skip


def _choice(layer: LayerRows, precision: str) -> Choice:
    row = layer.first
    return Choice(row.layer_name, row.category, row.out_features, row.in_features, precision)


def subjects(cache: Path, tokens: int, names: list[str]) -> Iterator[Subject]:
    """Yield the models that were asked for, one at a time in memory."""
    news = fetch(GENSIM, "lee_background.cor", cache)
    judged = {"docs": texts.long_documentation(), "news": texts.long_news(news)}
    if "byte-llama" in names:
        from transformers import AutoModelForCausalLM

        folder = byte_llama.make_model(cache, news)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        trained = json.loads((folder / byte_llama.MOMENTS).read_text(encoding="utf-8"))
        windows = {name: byte_llama.windows(text, 2 * tokens) for name, text in judged.items()}
        calibration = byte_llama.windows(texts.calibration().text, 4 * CALIBRATION)  # a byte tells less than a token
        yield Subject(
            "byte-llama-5m", model.eval().requires_grad_(False), calibration, windows, tuple(BUDGETS),
            slack=0.02, trained={name.removesuffix(".weight"): value for name, value in trained.items()},
        )  # fmt: skip
    if "tiny" in names:
        loaded = load_language_model(EMBEDDED, dtype="fp32")
        calibration = loaded.windows_of(texts.calibration().text, tokens=CALIBRATION, context=256)
        windows = {name: loaded.windows_of(text, tokens=tokens) for name, text in judged.items()}
        yield Subject("embedded", loaded.model, calibration, windows, tuple(BUDGETS))
    if "smollm2" in names:
        loaded = load_language_model(make_folder(fetch(SMOLLM2, "*.gguf", cache), cache), dtype="fp32")
        calibration = loaded.windows_of(texts.calibration().text, tokens=CALIBRATION, context=256)
        windows = {name: loaded.windows_of(text, tokens=tokens) for name, text in judged.items()}
        yield Subject("SmolLM2-135M", loaded.model, calibration, windows, ("3/4 bit",), _FEWER)


def main() -> None:
    """Judge all costs, print and write."""

    def judged(cache: Path, tokens: int, names: list[str]) -> Iterator[Line]:
        for subject in subjects(cache, tokens, names):
            yield from judge(subject)

    legend = (
        f"KL in nats a token; difference from {REFERENCE} on the same tokens, and its 95 % interval over blocks of them"
    )
    run_models("costs", "Paired tests of costs on trained models.", judged, Line, shown, legend)


def shown(line: Line) -> str:
    """Return a line as text."""
    difference = "" if line.cost == REFERENCE else f"{line.difference:+.4f} [{line.low:+.4f}, {line.high:+.4f}]"
    return (
        f"{line.model:14} {line.budget:8} {line.text:5} {line.cost:12} {line.average_bits:6.3f} bits  "
        f"KL {line.kl:.4f}  {difference} ({line.tokens} tokens)"
    )


if __name__ == "__main__":
    main()
