"""The curve of plans on disk, and what `evaluate` measured of plans beside it."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.plan_curve import CurvePoint
from alpha_callbacks.tables.checked_files import read_csv_lines
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.results_csv import cell
from alpha_callbacks.utils.atomic_files import write_text

CURVE, SCORES, PICTURE = "plan_curve.csv", "plan_scores.csv", "plan_curve"
RANDOM = "random "  # what names of random plans begin with
_CURVE_COLUMNS = ("policy", "average_bits", "gigabytes", "predicted_error", "mark")
_REMEDY = "Run `alpha-hill {}` again, or remove the file to go on without it."


@dataclass(frozen=True)
class PlanScore:
    """What `evaluate` measured of one plan.

    Attributes:
        name: "plan", "plan_4.5" (the file's), "uniform int4_g32", "random 1".
        average_bits: see `Score`; so are the next ones.
        kl: KL(base || plan), nats a token.
        kl_sem: standard error, as if tokens were independent.
        kl_q99: KL that 99 % of tokens do not exceed.
        kl_q999: KL that 99.9 % do not exceed.
        top1: share of tokens whose most likely successor is that of the base.
        perplexity: of the text.
        digest: of the plan (`plan_digest`), of a random one that of the plan whose bits it has; "" of uniform ones.
        text: name of the file.
        tokens: number of tokens.
    """

    name: str
    average_bits: float
    kl: float
    kl_sem: float
    kl_q99: float
    kl_q999: float
    top1: float
    perplexity: float
    digest: str
    text: str
    tokens: int


_SCORE_COLUMNS = tuple(each.name for each in fields(PlanScore))


def plan_digest(plan: Plan) -> str:
    """Return what tells two plans apart: layers and their formats."""
    lines = "\n".join(f"{choice.layer_name}\t{choice.precision}" for choice in plan.choices)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def plan_files(folder: Path) -> dict[str, Path]:
    """Return name -> file of the plans in a folder: plan.json, and plan_<bits>.json in order of their bits."""
    found = {path.stem: path for path in folder.glob("plan_*.json") if re.fullmatch(r"plan_\d+(\.\d+)?", path.stem)}
    budgets = dict(sorted(found.items(), key=lambda entry: float(entry[0].removeprefix("plan_"))))
    own = folder / "plan.json"
    return {**({"plan": own} if own.exists() else {}), **budgets}


def curve_text(points: Sequence[CurvePoint]) -> str:
    """Return a curve as CSV; gigabytes are 10^9 bytes."""
    rows = [[p.policy, cell(p.average_bits, 8), cell(p.nbytes / 1e9, 6), cell(p.error, 6), p.mark] for p in points]
    return csv_text([list(_CURVE_COLUMNS), *rows])


def write_curve(points: Sequence[CurvePoint], folder: Path) -> None:
    """Write plan_curve.csv."""
    write_text(folder / CURVE, curve_text(points))


def read_curve(folder: Path) -> tuple[CurvePoint, ...]:
    """Return the curve in a results folder; () where there is none.

    Raises:
        ResultsError: the file is damaged.
    """
    path, remedy = folder / CURVE, _REMEDY.format("recommend")
    lines = read_csv_lines(path, required=_CURVE_COLUMNS, remedy=remedy) or []
    return tuple(
        CurvePoint(
            line["policy"], _number(path, line, "average_bits"), _number(path, line, "gigabytes") * 1e9,
            _number(path, line, "predicted_error"), line["mark"],
        )
        for line in lines
    )  # fmt: skip


def write_scores(scores: Sequence[PlanScore], folder: Path) -> None:
    """Write plan_scores.csv in place of an earlier one."""
    rows = [[cell(value, 8) if isinstance(value, float) else value for value in astuple(score)] for score in scores]
    write_text(folder / SCORES, csv_text([list(_SCORE_COLUMNS), *rows]))


def read_scores(folder: Path) -> tuple[PlanScore, ...]:
    """Return what was measured of the plans in a results folder; () where nothing was.

    Raises:
        ResultsError: the file is damaged.
    """
    path = folder / SCORES
    lines = read_csv_lines(path, required=_SCORE_COLUMNS, remedy=_REMEDY.format("evaluate")) or []
    return tuple(_score(path, line) for line in lines)


def _score(path: Path, line: dict[str, str]) -> PlanScore:
    texts = {name: line[name] for name in ("name", "digest", "text")}
    numbers = {name: _number(path, line, name) for name in _SCORE_COLUMNS if name not in (*texts, "tokens")}
    return PlanScore(**texts, **numbers, tokens=int(_number(path, line, "tokens", whole=True)))  # type: ignore[arg-type]


def scores_of(plans: Mapping[str, Plan], scores: Sequence[PlanScore]) -> tuple[PlanScore, ...]:
    """Return the scores without those of plans that were made anew or removed since, and of their random plans."""
    digests = {name: plan_digest(plan) for name, plan in plans.items()}

    def holds(score: PlanScore) -> bool:
        if score.name.startswith(RANDOM):
            return score.digest in digests.values()
        return not score.digest or digests.get(score.name) == score.digest

    return tuple(score for score in scores if holds(score))


def _number(path: Path, line: dict[str, str], column: str, *, whole: bool = False) -> float:
    text = line[column]
    try:
        return float(int(text)) if whole else float(text) if text else math.nan
    except ValueError as error:
        command = "evaluate" if path.name == SCORES else "recommend"
        remedy = _REMEDY.format(command)
        raise ResultsError(f"{path}: expected a number as {column}, got {text!r}. {remedy}") from error
