"""What a person sees of the curve of plans: sizes and predicted errors at the budgets that people ask for."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import console
from alpha_callbacks.planning.plan_curve import KNEE, UNIFORM, CurvePoint
from alpha_callbacks.planning.plan_sentences import sized
from alpha_callbacks.planning.recommendation import Recommendation

_Line = tuple[float, float, list[float], str]  # bits, bytes, error of each policy, note


def print_curve(points: Sequence[CurvePoint]) -> None:
    """Print a line per common budget and knee: bits, size, and the predicted error of each policy."""
    out = console()
    policies = [name for name in dict.fromkeys(p.policy for p in points) if name not in (UNIFORM, "thresholds")]
    grid = RichTable(
        "bits", "size", *policies, "note", title="Curve: predicted error at each size", title_justify="left"
    )
    for column in grid.columns[:-1]:
        column.justify = "right"
    for bits, nbytes, errors, note in _merged(_lines(points, policies)):
        grid.add_row(f"{bits:.3f}".rstrip("0").rstrip("."), sized(nbytes), *map(_error, errors), note)
    out.print(grid)
    out.print("Predicted error: root of the mean squared relative error over layers, whatever the policy looks at.")


def print_budgets(found: Mapping[str, Recommendation]) -> None:
    """Print a line per plan of several budgets, by the name of its file."""
    out = console()
    grid = RichTable("plan", "bits", "size", "rms error", "formats", title="One plan per budget", title_justify="left")
    for column in grid.columns[1:4]:
        column.justify = "right"
    for name, each in found.items():
        used = dict.fromkeys(
            c.precision for c in sorted(each.plan.choices, key=lambda c: c.effective_bits) if c.low_bit
        )
        grid.add_row(
            f"{name}.json", f"{each.plan.average_bits():.3f}", sized(each.plan.nbytes),
            _error(each.alternatives[0].error), ", ".join(used),
        )  # fmt: skip
    out.print(grid)


def _lines(points: Sequence[CurvePoint], policies: Sequence[str]) -> list[_Line]:
    """Return (bits, bytes, error of each policy, note) of all marked points, in order of bits."""
    lines: list[_Line] = []
    sizes = dict.fromkeys(point.mark for point in points if point.policy in policies and point.mark not in ("", KNEE))
    for mark in sizes:
        mine = {point.policy: point for point in points if point.mark == mark and point.policy in policies}
        errors = [mine[name].error if name in mine else math.nan for name in policies]
        lines.append((float(mark), next(iter(mine.values())).nbytes, errors, ""))
    for point in points:
        if point.mark == KNEE:
            errors = [point.error if name == point.policy else math.nan for name in policies]
            lines.append((point.average_bits, point.nbytes, errors, f"knee of {point.policy}"))
        elif point.policy in (UNIFORM, "thresholds"):
            note = f"{point.mark} everywhere" if point.policy == UNIFORM else "thresholds"
            errors = [point.error] * len(policies) if point.policy == UNIFORM else [math.nan] * len(policies)
            lines.append((point.average_bits, point.nbytes, errors, note))
    return sorted(lines, key=lambda line: line[0])


def _merged(lines: Sequence[_Line]) -> list[_Line]:
    """Return lines with those of one size made one, where they do not say two errors of one policy."""
    found: dict[str, _Line] = {}
    for bits, nbytes, errors, note in lines:
        key = f"{bits:.2f}"
        if key in found and any(
            len({*map(_error, pair)} - {""}) > 1 for pair in zip(found[key][2], errors, strict=True)
        ):
            key = f"{key} {note}"
        elif key in found:
            _, _, before, said = found[key]
            errors = [b if not math.isnan(b) else e for b, e in zip(before, errors, strict=True)]
            note = ", ".join(part for part in (said, note) if part)
        found[key] = (bits, nbytes, errors, note)
    return list(found.values())


def _error(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"
