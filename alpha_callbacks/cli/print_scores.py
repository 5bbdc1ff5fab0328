"""What a person sees of an evaluation: divergences of plans, and whether their differences are more than chance."""

from collections.abc import Sequence
from itertools import combinations
from math import isnan
from statistics import fmean, stdev

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.evaluation.evaluate import BASE, WRITTEN, Score
from alpha_callbacks.evaluation.paired import paired_difference
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.results_csv import cell

_RANDOM, _UNIFORM = "random ", "uniform "
_CHANCE = "; it may be chance"
_ALL_PAIRS = 5  # of more plans, each is compared with the first alone


def print_scores(scores: Sequence[Score], *, tokens: int) -> None:
    """Print what each plan does to the model; random plans as mean and standard deviation."""
    out = console(wrap=True)
    grid = RichTable("plan", "bits", "KL", "99 %", "99.9 %", "top-1", "perplexity", box=SIMPLE_HEAD, show_edge=False)
    grid.title, grid.title_justify = f"On {tokens} tokens", "left"
    grid.columns[0].no_wrap = True
    for column in grid.columns[1:]:
        column.justify = "right"
    chosen = plans_of(scores)
    for score in scores:
        if not score.name.startswith(_RANDOM):
            kl = f"{score.kl:.4f} ± {score.kl_sem:.4f}" if score.kl else "0"
            plain = score.name == BASE or isnan(score.average_bits)  # it was loaded, not stored, in these bits
            bits = "" if plain else f"{score.average_bits:.3f}"
            ends = (
                [f"{score.kl_q99:.3f}", f"{score.kl_q999:.3f}", f"{score.top1:.1%}"] if score.name != BASE else [""] * 3
            )
            grid.add_row(escape(score.name), bits, kl, *ends, f"{score.perplexity:.3f}")
    for plan in chosen:
        if random := random_of(scores, plan, alone=len(chosen) == 1):
            grid.add_row(*_random_row(random, "" if len(chosen) == 1 else f" for {plan.name}"))
    out.print(grid)
    out.print(
        "KL: divergence from the unquantized model in nats per token, ± standard error over tokens; 99 %, 99.9 %: what "
        "so many tokens do not exceed. top-1: tokens whose most likely successor stays. Lower KL is better."
    )
    for plan in chosen:
        if random := random_of(scores, plan, alone=len(chosen) == 1):
            beaten = sum(plan.kl < score.kl for score in random)
            name = "The plan" if len(chosen) == 1 else escape(plan.name)
            out.print(f"{name} is better than {beaten} of {len(random)} random plans at the same bits.")
    for sentence in differences([*chosen, *(score for score in scores if score.name.startswith(WRITTEN))]):
        out.print(escape(sentence))


def plans_of(scores: Sequence[Score]) -> list[Score]:
    """Return the plans that were asked about."""
    return [s for s in scores if s.name != BASE and not s.name.startswith((_RANDOM, _UNIFORM, WRITTEN))]


def random_of(scores: Sequence[Score], plan: Score, *, alone: bool) -> list[Score]:
    """Return the random plans that were dealt like one plan."""
    dealt = [score for score in scores if score.name.startswith(_RANDOM)]
    return dealt if alone else [score for score in dealt if score.name.endswith(f" for {plan.name}")]


def differences(plans: Sequence[Score]) -> list[str]:
    """Return a sentence for each pair: the difference of their KL on the same tokens, with its interval."""
    pairs = combinations(plans, 2) if len(plans) <= _ALL_PAIRS else ((plans[0], other) for other in plans[1:])
    said = []
    for one, other in pairs:
        found = paired_difference(one.kl_of_tokens, other.kl_of_tokens)
        interval = f"[{found.low:+.4f}, {found.high:+.4f}]" if found.blocks > 1 else "too few tokens for an interval"
        equal = max(abs(found.low), abs(found.high)) < 5e-5  # False where the interval is nan
        verdict = "" if found.blocks < 2 else "; equal to four digits" if equal else "" if found.resolved else _CHANCE
        said.append(f"KL of {one.name} minus {other.name}: {found.mean:+.4f} {interval}{verdict}.")
    if said:
        said.append("Intervals: 95 %, paired on the same tokens, over blocks of consecutive ones.")
    return said


def scores_text(scores: Sequence[Score]) -> str:
    """Return scores as CSV."""
    rows = [
        [s.name, *(cell(v, 8) for v in (s.average_bits, s.kl, s.kl_sem, s.perplexity)), cell(s.seconds, 4),
         *(cell(v, 8) for v in (s.top1, s.kl_q99, s.kl_q999))] for s in scores
    ]  # fmt: skip
    columns = ["plan", "average_bits", "kl", "kl_sem", "perplexity", "seconds", "top1", "kl_q99", "kl_q999"]
    return csv_text([columns, *rows])


def _random_row(random: Sequence[Score], of: str) -> list[str]:
    kls = [score.kl for score in random]
    spread = f"{fmean(kls):.4f} sd {stdev(kls):.4f}" if len(kls) > 1 else f"{kls[0]:.4f}"
    return [
        escape(f"{len(random)} random plans{of}"), f"{random[0].average_bits:.3f}", spread,
        f"{fmean(s.kl_q99 for s in random):.3f}", f"{fmean(s.kl_q999 for s in random):.3f}",
        f"{fmean(s.top1 for s in random):.1%}", f"{fmean(s.perplexity for s in random):.3f}",
    ]  # fmt: skip
