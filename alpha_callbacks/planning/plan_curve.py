"""What every budget would give: bits, bytes and predicted error of each policy's best plans, from coarse to fine."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan_problem import HIGH
from alpha_callbacks.planning.policies import menu_of, spend
from alpha_callbacks.planning.price_path import PricePath, price_path
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.table_problem import POLICIES, TableProblem, pose
from alpha_callbacks.tables.table import Table

SIZES = (3.0, 4.0, 4.5, 5.0, 6.0, 8.0)  # means of bits that people ask for
KNEE, UNIFORM = "knee", "uniform"
_POINTS = 60  # of one policy; a path of more steps is thinned to so many


@dataclass(frozen=True)
class CurvePoint:
    """One plan of a policy, as far as its size and error go.

    Attributes:
        policy: what chose it; "uniform": one format for every layer that can have it.
        average_bits: mean of effective bits over the layers that are decided about.
        nbytes: of all matrices, those that are kept at 16 bits too.
        error: predicted: root of the mean squared relative error over layers; nan where a format was not measured.
        mark: "knee" (beyond it a bit saves less than the mean of the whole curve), the budget that it is the answer to
            ("4.5"), a format ("int4_g32", of "uniform"), or "".
    """

    policy: str
    average_bits: float
    nbytes: float
    error: float
    mark: str = ""


def plan_curve(
    table: Table | str | Path,
    options: RecommendOptions | None = None,
    *,
    fisher: Mapping[str, float] | None = None,
    model: str = "",
) -> tuple[CurvePoint, ...]:
    """Return the best plans of each policy at all budgets, in order of policy and bits.

    Args:
        table: as `recommend` takes it; so are the others.
        options: their policy and budget do not matter here.
        fisher: layer name -> sensitivity; without it there is no curve of "fisher".
        model: where the weights came from, for messages.

    Raises:
        PlanError: see `recommend`.
    """
    problem = pose(table, options, fisher=fisher, model=model)
    sizes = _Sizes.of(problem)
    points: list[CurvePoint] = []
    for policy in POLICIES:
        if problem.lacks(policy):
            continue
        if policy == "thresholds":
            points.append(sizes.point(policy, problem.decide(policy, None)[0]))
        else:
            points += _of_policy(problem, policy, sizes)
    return (*points, *_uniform(problem, sizes))


def better_below(points: Sequence[CurvePoint], policy: str, average_bits: float, error: float) -> CurvePoint | None:
    """Return the best plan of a policy with fewer bits and less error than one that had to spend its whole budget."""
    found = [p for p in points if p.policy == policy and p.average_bits < average_bits and p.error < 0.99 * error]
    return min(found, key=lambda point: point.error, default=None)


def _of_policy(problem: TableProblem, policy: str, sizes: "_Sizes") -> list[CurvePoint]:
    """Return points of the path of low-bit formats, then of the one with 16 bits from where that ends."""
    about, costs = problem.about, problem.costs(policy)
    low = price_path(menu_of(about, costs, wide=False))
    found = sizes.path(policy, low)
    most = found[-1].average_bits
    wide = price_path(menu_of(about, costs, wide=True))
    beyond = [point for point in sizes.path(policy, wide) if point.average_bits > most + 1e-9]
    if any(point.mark for point in found):
        beyond = [replace(point, mark="") for point in beyond]
    points = found + beyond
    reachable = points[0].average_bits, points[-1].average_bits
    for size in SIZES:
        if reachable[0] <= size <= reachable[1]:
            try:
                points.append(sizes.point(policy, spend(about, costs, size), f"{size:g}"))
            except PlanError:  # units are few and large: no plan has just these bits
                continue
    return sorted(points, key=lambda point: (point.average_bits, point.mark != ""))


def _uniform(problem: TableProblem, sizes: "_Sizes") -> list[CurvePoint]:
    """Return one point per candidate that was measured: for all layers that can have it."""
    about = problem.about
    points = []
    for name in about.candidates[:-1]:
        picks = [HIGH] * len(about.layers)
        for group in about.groups:
            if all(about.possible(i, name) for i in group):
                for i in group:
                    picks[i] = name
        if name in picks:
            points.append(sizes.point(UNIFORM, picks, name))
    return sorted(points, key=lambda point: point.average_bits)


@dataclass(frozen=True)
class _Sizes:
    """Squared errors and bits of each group of layers in each candidate, summed.

    Attributes:
        problem: what is decided.
        squares: sums of squared relative errors, shape (groups, candidates).
        measured: number of layers that these are of.
        weights: number of weights of all layers.
        kept: bytes of the layers that are not decided about.
    """

    problem: TableProblem
    squares: np.ndarray
    measured: int
    weights: int
    kept: float

    @classmethod
    def of(cls, problem: TableProblem) -> "_Sizes":
        about = problem.about
        errors = np.array(
            [
                [about.error(i, c) if about.usable[i] else 0.0 for c in about.candidates]
                for i in range(len(about.layers))
            ]
        )
        kept = [layer.first for layer in problem.table.layers if layer.first.layer_name in problem.kept]
        return cls(
            problem=problem,
            squares=np.array([(errors[list(group)] ** 2).sum(axis=0) for group in about.groups]),
            measured=sum(about.usable),
            weights=sum(layer.first.out_features * layer.first.in_features for layer in about.layers),
            kept=sum(2.0 * row.out_features * row.in_features for row in kept if not row.tied_to),
        )

    def point(self, policy: str, picks: list[str], mark: str = "") -> CurvePoint:
        """Return the point of one plan, given the candidate of each layer."""
        about = self.problem.about
        bits = sum(about.bits(i, pick) for i, pick in enumerate(picks))
        errors = [about.error(i, pick) for i, pick in enumerate(picks) if about.usable[i]]  # a rule may pick others
        return self._point(policy, bits, sum(error**2 for error in errors), mark)

    def path(self, policy: str, path: PricePath) -> list[CurvePoint]:
        """Return points along a path, its ends and its knee among them."""
        units, now = np.arange(len(path.start)), list(path.start)
        places = {round(place) for place in np.linspace(0, len(path.steps), min(_POINTS, len(path.steps) + 1))}
        if path.knee is not None:
            places.add(path.knee)
        points = []
        for at in range(len(path.steps) + 1):
            if at in places:
                squares = float(self.squares[units, now].sum())
                points.append(self._point(policy, float(path.bits[at]), squares, KNEE if at == path.knee else ""))
            if at < len(path.steps):
                unit, finer = path.steps[at]
                now[unit] = finer
        return points

    def _point(self, policy: str, bits: float, squares: float, mark: str) -> CurvePoint:
        error = math.sqrt(max(squares, 0.0) / self.measured) if self.measured else math.nan
        return CurvePoint(policy, bits / self.weights, self.kept + bits / 8, error, mark)
