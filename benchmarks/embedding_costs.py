"""The third view of costs: a model without logits, MiniLM, judged by the agreement of its embeddings.

    python scripts/fetch_real_weights.py
    python -m benchmarks.embedding_costs     # about two minutes of one core

As `benchmarks.costs` does it: one plan per cost at equal bits, formats and ties. The costs are `measured`,
`activations` and `drawn`: the trace of the Fisher information of an embedding with Gaussian noise times mean squared
error, from gradients of the embedding along drawn directions, one per passage, on another text. It needs no labels. The
damage of a plan is 1 - cosine of the embeddings of a passage before and after, with 95 % intervals (Student's t) of the
differences from `measured` over passages. Writes embedding_costs.txt into benchmarks/results.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.evaluation.applied_plan import Applied
from alpha_callbacks.evaluation.paired import student_quantile
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.planning.policies import measured_costs, spend
from alpha_callbacks.planning.tied_groups import units
from benchmarks import texts
from benchmarks.costs import BUDGETS, moments, rounding, table_of
from benchmarks.result_lines import RESULTS
from scripts.fetch_real_weights import GENSIM, MINILM, default_cache, fetch

LENGTH, PASSAGES, CALIBRATION = 64, 64, 24  # tokens of a passage; passages of each text, and of the calibration text
REFERENCE = "measured"


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder and its tokenizer; embeddings are means over tokens, of length 1."""

    model: nn.Module
    tokenizer: Any

    def passages(self, text: str, count: int) -> Tensor:
        """Return token ids with those that begin and end a text, shape (count, LENGTH + 2)."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids[: count * LENGTH]
        body = torch.tensor(ids).view(count, LENGTH)
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return torch.cat([torch.full((count, 1), first), body, torch.full((count, 1), last)], dim=1)

    def embed(self, passages: Tensor) -> Tensor:
        """Return unit vectors, shape (passages, hidden)."""
        return nn.functional.normalize(self.model(input_ids=passages).last_hidden_state.mean(1), dim=-1)


def drawn_traces(encoder: Encoder, passages: Tensor, layers: list[str]) -> dict[str, float]:
    """Return layer name -> mean over passages of the squared gradient of the embedding along a drawn direction."""
    found = matrices(encoder.model)
    weights = {p.data_ptr(): p for p in encoder.model.parameters()}
    wanted = [weights[found[name].data_ptr()].requires_grad_(True) for name in layers]
    draws, sums = torch.Generator().manual_seed(0), dict.fromkeys(layers, 0.0)
    for passage in passages:
        embedding = encoder.embed(passage[None])[0]
        direction = torch.randn(len(embedding), generator=draws)
        for name, gradient in zip(layers, torch.autograd.grad(embedding @ direction, wanted), strict=True):
            sums[name] += float(gradient.double().square().sum()) / len(passages)
    for weight in wanted:
        weight.requires_grad_(False)
    return sums


def judge(encoder: Encoder, calibration: Tensor, judged: dict[str, Tensor], show: Callable[[str], None]) -> None:
    """Tell the damage of each cost's plan."""
    for budget, (low, high, average) in BUDGETS.items():
        table = table_of(encoder.model, (low, high))
        choices = [
            Choice(r.layer_name, r.category, r.out_features, r.in_features, low)
            for r in (layer.first for layer in table.layers)
        ]
        names = [choice.layer_name for choice in choices]
        about = PlanProblem(
            table.layers, units(choices), (low, high, HIGH), "fp32", [True] * len(choices), ["bf16"] * len(choices)
        )
        with moments(encoder.model) as (inputs, _), torch.no_grad():
            encoder.embed(calibration)
        costs = {
            REFERENCE: measured_costs(about),
            "activations": measured_costs(about).copy(),
            "drawn": measured_costs(about, fisher=drawn_traces(encoder, calibration, names)),
        }
        found = matrices(encoder.model)
        for i, name in enumerate(names):
            for j, candidate in enumerate((low, high)):
                squares = rounding(found[name].float(), candidate).square()
                whole = float((found[name].float().square() @ inputs[name]).sum())
                costs["activations"][i, j] = float((squares @ inputs[name]).sum()) / whole
        plans = {}
        for name, cost in costs.items():
            picks = spend(about, cost, average, slack=0.02)
            plans[name] = Plan(tuple(replace(c, precision=p) for c, p in zip(choices, picks, strict=True)), name)
        for text, passages in judged.items():
            damage = _damage(encoder, plans, passages)
            for name, values in damage.items():
                d = values - damage[REFERENCE]
                half = student_quantile(0.975, len(d) - 1) * float(d.std()) / math.sqrt(len(d))
                against = (
                    f"{d.mean():+.5f} [{d.mean() - half:+.5f}, {d.mean() + half:+.5f}]" if name != REFERENCE else ""
                )
                bits = plans[name].average_bits()
                show(f"MiniLM {budget:8} {text:5} {name:12} {bits:6.3f} bits  1 - cos {values.mean():.5f}  {against}")


@torch.no_grad()
def _damage(encoder: Encoder, plans: dict[str, Plan], passages: Tensor) -> dict[str, Tensor]:
    base = encoder.embed(passages).double()
    found = {}
    with Applied(encoder.model, next(iter(plans.values()))) as applied:
        for name, plan in plans.items():
            applied.use(plan)
            found[name] = 1 - (base * encoder.embed(passages).double()).sum(-1)
    return found


def main() -> None:
    """Judge all costs, print and write."""
    argparse.ArgumentParser(description="Costs judged by embeddings.").parse_args()
    from transformers import AutoModel, AutoTokenizer

    cache, started, lines = default_cache(), time.process_time(), list[str]()
    folder: Path = fetch(MINILM, "model.safetensors", cache).parent
    encoder = Encoder(
        AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval().requires_grad_(False),
        AutoTokenizer.from_pretrained(folder),
    )
    news = fetch(GENSIM, "lee_background.cor", cache)
    judged = {"docs": texts.long_documentation(), "news": texts.long_news(news)}

    def show(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    judge(
        encoder,
        encoder.passages(texts.calibration().text, CALIBRATION),
        {name: encoder.passages(text, PASSAGES) for name, text in judged.items()},
        show,
    )
    report = [
        "$ python -m benchmarks.embedding_costs",
        f"{time.process_time() - started:.0f} CPU s; difference from {REFERENCE} on the same {PASSAGES} passages of "
        f"{LENGTH} tokens, and its 95 % interval",
        *lines,
    ]
    (RESULTS / "embedding_costs.txt").write_text("\n".join(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
