"""What `evaluate` measured, put beside the curve that `recommend` has drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from alpha_callbacks.cli.terminal import say
from alpha_callbacks.evaluation.evaluate import BASE, PLAN, WRITTEN, Score
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_curve_files import (
    CURVE,
    PICTURE,
    RANDOM,
    SCORES,
    PlanScore,
    plan_digest,
    plan_files,
    write_scores,
)
from alpha_callbacks.plots.plan_curve import draw_curve


def keep_scores(
    scores: Sequence[Score], plans: Mapping[str, Plan], folders: Sequence[Path], *, text: str, tokens: int
) -> None:
    """Write plan_scores.csv and draw plan_curve.png again, if all plans lie in one folder with a curve."""
    folder = folders[0]
    if set(folders) != {folder} or not (folder / CURVE).exists():
        return
    single = next(iter(plans)) if len(plans) == 1 else ""
    kept = []
    for s in scores:
        if s.name == BASE or s.name.startswith(WRITTEN):  # neither is a point at some bits
            continue
        name = single if single and s.name == PLAN else s.name
        owner = (single or name.rpartition(" for ")[2]) if name.startswith(RANDOM) else name
        digest = plan_digest(plans[owner]) if owner in plans else ""
        kept.append(
            PlanScore(
                name, s.average_bits, s.kl, s.kl_sem, s.kl_q99, s.kl_q999, s.top1, s.perplexity, digest, text, tokens
            )
        )
    write_scores(kept, folder)
    draw_curve(folder)
    page = f"alpha-hill report {quote(str(folder))}"
    say(f"Written to {folder}: {SCORES}, {PICTURE}.png with these points. For the page: {page}")
    if other := sorted(plans.keys() - plan_files(folder).keys()):
        say(f"Not among the points, since `recommend` names no plan so: {', '.join(other)}")
