"""What a person sees of a plan: the choices, the evidence for them, and what else could have been chosen."""

import math
from collections import Counter
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_sentences import EXPLAINED, sized
from alpha_callbacks.planning.recommendation import Advice, Recommendation
from alpha_callbacks.precisions.registry import all_precisions, families, get_precision

_SHAPE = (4096, 4096)  # for which effective bits are quoted


def print_recommendation(found: Recommendation, *, every_layer: bool = False) -> None:
    """Print a plan: layers by category, layers that stay, evidence, alternatives.

    Args:
        found: the plan and the evidence for it.
        every_layer: print a line per layer first.
    """
    out, plan = console(), found.plan
    decided = [advice for advice in found.layers if advice.choice.budgeted]
    if every_layer:
        for advice in found.layers:
            out.print(_line(advice))
    out.print(_categories(found))
    protect = plan.settings.get("protect")
    out.print(
        f"• Policy {plan.policy}: {EXPLAINED[plan.policy]}{f'; sensitive: {escape(str(protect))}' if protect else ''}."
    )
    rest = len(found.layers) - len(decided)
    out.print(
        f"• {plan.average_bits():.3f} effective bits per weight over the {len(decided)} quantizable matrices"
        + (f", {plan.average_bits(budgeted=False):.3f} over all {len(found.layers)}" if rest else "")
        + f". {sized(plan.nbytes)} in total, {sized(_bytes_at_16(found))} at 16 bits{_uncounted(plan)}."
    )
    if get_precision(found.reference).low_bit:
        out.print(f"[yellow]• Alpha is that of {found.reference}: no wider precision was scanned.[/yellow]")
    for choice in found.kept:
        out.print(f"[yellow]• {escape(choice.layer_name)}: {escape(choice.reason)}.[/yellow]")
    for correlation in found.correlations:
        if not math.isnan(correlation.alpha):
            out.print(
                f"• Rank correlation with the error of {correlation.precision}: alpha {correlation.alpha:+.2f}, "
                f"alpha / noise {correlation.alpha_ratio:+.2f} ({correlation.layers} layers)."
            )
    out.print(_rivals(found))


def print_plan(plan: Plan) -> None:
    """Print how many layers get which format."""
    out = console()
    counts = Counter(choice.precision for choice in plan.choices)
    words = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    bits = plan.average_bits(budgeted=False)
    size = f"{sized(plan.nbytes)}{_uncounted(plan)}"
    out.print(f"{len(plan.choices)} matrices: {words}; {bits:.3f} effective bits per weight, {size}.")


def _line(advice: Advice) -> str:
    """Return a line about one layer."""
    choice = advice.choice
    parts = [
        f"alpha {advice.alpha:.3f}, {advice.alpha_ratio:.2f} of noise" if not math.isnan(advice.alpha) else "no alpha"
    ]
    parts.append(f"[bold]{choice.precision}[/bold] ({choice.effective_bits:.2f} bits)")
    if advice.drift:
        parts.append(f"drift {advice.drift:+.1e}" if not math.isnan(advice.drift) else "drift not measured")
    return f"{escape(choice.layer_name)}: {'; '.join(parts)}. [dim]{escape(choice.reason)}[/dim]"


def _categories(found: Recommendation) -> RichTable:
    used = Counter(advice.choice.precision for advice in found.layers)
    names = sorted(
        used, key=lambda name: next(a.choice.effective_bits for a in found.layers if a.choice.precision == name)
    )
    grid = RichTable("category", "layers", *names, "bits", "mean error", title="Plan: layers by format")
    grid.title_justify = "left"
    for column in grid.columns[1:]:
        column.justify = "right"
    for category in dict.fromkeys(advice.choice.category for advice in found.layers):
        inside = [advice for advice in found.layers if advice.choice.category == category]
        counts = Counter(advice.choice.precision for advice in inside)
        errors = [advice.relative_error for advice in inside if not math.isnan(advice.relative_error)]
        weights = sum(advice.choice.numel for advice in inside)
        bits = sum(advice.choice.numel * advice.choice.effective_bits for advice in inside) / weights
        error = f"{fmean(errors):.2g}" if len(errors) == len(inside) else ""
        grid.add_row(category, str(len(inside)), *(str(counts[n] or "") for n in names), f"{bits:.2f}", error)
    return grid


def _rivals(found: Recommendation) -> RichTable:
    grid = RichTable("policy", "bits", "rms error", "same choices", title="What other policies would choose")
    grid.title_justify = "left"
    for column in grid.columns[1:]:
        column.justify = "right"
    for alternative in found.alternatives:
        error = _number(alternative.error, ".4f") or "not measured"
        grid.add_row(alternative.policy, f"{alternative.average_bits:.3f}", error, f"{alternative.agreement:.0%}")
    return grid


def _uncounted(plan: Plan) -> str:
    """Say which tables a size leaves out, with the head that shares each."""
    return f", without {escape(', '.join(plan.uncounted))} and what shares it" if plan.uncounted else ""


def _bytes_at_16(found: Recommendation) -> float:
    return sum(advice.choice.numel * 2 for advice in found.layers if not advice.choice.tied_to)


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def print_precisions() -> None:
    """Print every precision (bits, which implementation it matches, its source), then names and options of families."""
    grid = RichTable("name", "bits", "bit for bit", "reference", box=SIMPLE_HEAD)
    grid.columns[1].justify = "right"
    lines: dict[str, str] = {}
    for precision, family in all_precisions():
        bits = f"{precision.effective_bits(*_SHAPE):.3f}".rstrip("0").rstrip(".")
        grid.add_row(precision.name, bits, precision.same_as, precision.source)
        if family is None:
            lines[precision.name] = f"{precision.name} ({', '.join(precision.aliases)})"
        elif family.name not in lines:
            others = f" ({', '.join(family.aliases)})" if family.aliases else ""
            default = f" = {precision.name}" if precision.name != family.name else ""
            options = f"; options: {family.options}" if family.options else ""
            lines[family.name] = f"{family.name}{others}{default}{options}"
    for family in families():
        if not family.examples:
            lines[family.name] = (
                f"{family.name}; options: {family.options}; not available: needs the extra {family.extra}"
            )
    out = console()
    out.print(grid)
    out.print(f"bits: average per weight of a {_SHAPE[0]}x{_SHAPE[1]} matrix, scales included.")
    out.print("bit for bit: the implementation whose results it matches exactly.\n")
    out.print("Names (with aliases) and their options, which follow a colon:")
    for line in lines.values():
        out.print(f"  {escape(line)}")
    out.print("\nFor example: --precisions bf16,fp8,int4:g128,mxfp4:floor,nvfp4,gguf:q4_0")
