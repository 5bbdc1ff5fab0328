"""Results -> a plan, what speaks for it, and what other policies would have done."""

from collections.abc import Mapping
from pathlib import Path

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.recommendation import Recommendation
from alpha_callbacks.planning.table_problem import POLICIES, pose
from alpha_callbacks.tables.table import Table


def recommend(
    table: Table | str | Path,
    options: RecommendOptions | None = None,
    *,
    fisher: Mapping[str, float] | None = None,
    model: str = "",
) -> Recommendation:
    """Choose a format for every layer.

    A layer without alpha, or whose candidates all failed, stays at 16 bits. So do embeddings, routers, convolutions and
    the language head, outside the budget. Rows of updates are passed over: nobody stores an update in such a format.

    Args:
        table: results of a scan, or their folder or CSV, with low-bit columns for the policies that measure.
        options: how.
        fisher: layer name -> sensitivity (`sensitivity.fisher_trace`), for the policy "fisher".
        model: where the weights came from, for the plan; "": what the run.json of the folder says.

    Raises:
        PlanError: the results lack what the policy needs, are about quantized weights, no candidate fits the columns of
            any layer, or the budget cannot be met.
        OptionError: neither a table nor a path.
        ResultsError: a path without results, or with a damaged file.
    """
    problem = pose(table, options, fisher=fisher, model=model)
    policy = problem.options.policy or "measured"
    problem.require(policy)
    budget = None if policy == "thresholds" else problem.budget()
    chosen, reasons = problem.decide(policy, budget)
    plan = problem.plan(policy, budget, chosen, reasons)
    matched = plan.average_bits() if budget is None else budget
    others: dict[str, list[str]] = {policy: chosen}
    for name in POLICIES:
        if name not in others and problem.lacks(name) == "":
            try:
                others[name] = problem.decide(name, matched)[0]
            except PlanError:  # it cannot spend exactly these bits
                continue
    return Recommendation(
        plan=plan,
        layers=tuple(problem.advice(choice, others) for choice in plan.choices),
        alternatives=tuple(problem.alternative(name, picks, chosen) for name, picks in others.items()),
        correlations=tuple(problem.correlation(name) for name in problem.measured),
        reference=problem.table.reference,
    )
