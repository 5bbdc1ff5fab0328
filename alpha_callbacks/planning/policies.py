"""Policies under a budget: AlphaQ's cost, measured error, and measured error weighted by sensitivities."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.knapsack import TOLERANCE, Menu, choose
from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.planning.thresholds import Protect
from alpha_callbacks.precisions.registry import get_precision


def alphaq_costs(about: PlanProblem, *, gamma: float, protect: Protect) -> np.ndarray:
    """Return (median alpha / alpha)^gamma * Var(W) * 2^(-2 bits) for each layer and candidate.

    Source: AlphaQ (arXiv 2606.04980), there for the experts of one model, all of one size.
    """
    alphas = [about.alpha(i) for i in range(len(about.layers))]
    middle_alpha = median([alpha for alpha in alphas if alpha > 0] or [math.nan])
    sign = 1.0 if protect == "low-alpha" else -1.0
    logs = np.full((len(about.layers), len(about.candidates)), np.nan)
    for i, alpha in enumerate(alphas):
        row = about.layers[i][about.reference]
        if alpha > 0 and row.frobenius_norm > 0:
            log_variance = 2 * math.log(row.frobenius_norm) - math.log(max(1, row.out_features * row.in_features))
            weight = sign * gamma * math.log(middle_alpha / alpha) + log_variance
            bits = [get_precision(about.format_of(i, candidate)).bits for candidate in about.candidates]
            logs[i] = weight - 2 * math.log(2) * np.array(bits)
    known = logs[~np.isnan(logs)]
    return np.asarray(np.exp(logs - known.max(initial=-math.inf))) if known.size else logs  # any gamma, no overflow


def measured_costs(about: PlanProblem, *, fisher: Mapping[str, float] | None = None) -> np.ndarray:
    """Return the harm of each layer and candidate, from its measured error.

    Without sensitivities the squared relative error (the linearity theorem with equal coefficients, arXiv 2411.17525);
    with them, trace of the Fisher information times mean squared error, the second-order change of the loss.

    Args:
        about: what is decided.
        fisher: layer name -> trace, from `sensitivity.fisher_trace`.

    Raises:
        PlanError: a layer has no sensitivity.
    """
    costs = np.zeros((len(about.layers), len(about.candidates)))
    for i, layer in enumerate(about.layers):
        row = layer[about.reference]
        weight = 1.0
        if fisher is not None:
            if row.layer_name not in fisher:
                raise PlanError(
                    f"{row.layer_name}: expected a sensitivity, there is none. Check --model, or what was trained: "
                    "frozen layers have none."
                )
            weight = fisher[row.layer_name] * row.frobenius_norm**2 / max(1, row.out_features * row.in_features)
        costs[i] = [weight * about.error(i, candidate) ** 2 for candidate in about.candidates]
    return costs


def spend(
    about: PlanProblem, costs: np.ndarray, average_bits: float, *, slack: float = TOLERANCE, wide: bool | None = None
) -> list[str]:
    """Return the candidate of each layer that costs least in all at this mean of bits.

    Args:
        about: what is decided.
        costs: shape (layers, candidates); nan where a format is not possible.
        average_bits: effective bits per weight, over all layers here.
        slack: how many bits of it may be left over.
        wide: whether 16 bits may be chosen freely. Default: only where the mean is above what the other formats reach.
            To pay for 16 bits in one layer others go coarser, and there errors are no longer small, as every cost
            supposes (docs/evidence.md).

    Raises:
        PlanError: the mean cannot be reached.
    """
    menu, widest = menu_of(about, costs, wide=bool(wide)), menu_of(about, costs, wide=True)
    if wide is None and average_bits > menu.reachable[1] + TOLERANCE:
        menu = widest
    chosen = [""] * len(about.layers)
    for group, j in zip(about.groups, choose(menu, average_bits, slack=slack, most=widest.reachable[1]), strict=True):
        for i in group:
            chosen[i] = about.candidates[j]
    return chosen


def middle(about: PlanProblem) -> float:
    """Return the mean of bits half way between the coarsest and the finest choice without free 16 bits."""
    return sum(menu_of(about, np.zeros((len(about.layers), len(about.candidates))), wide=False).reachable) / 2


def menu_of(about: PlanProblem, costs: np.ndarray, *, wide: bool) -> Menu:
    """Return what each group of layers may choose; 16 bits only if `wide`, or where it has no other choice.

    Args:
        about: what is decided.
        costs: shape (layers, candidates); nan where a format is not possible.
        wide: whether every layer may have 16 bits.
    """
    possible = np.array([[about.possible(i, c) for c in about.candidates] for i in range(len(about.layers))])
    if not wide:  # but a layer must not be left without a choice
        possible[:, -1] = ~(possible[:, :-1] & ~np.isnan(costs[:, :-1])).any(axis=1)
    costs = np.where(possible, costs, np.nan)
    costs[:, -1] = np.where(possible[:, -1], np.nan_to_num(costs[:, -1]), np.nan)
    bits = np.array([[about.bits(i, c) for c in about.candidates] for i in range(len(about.layers))])
    shared = [list(group) for group in about.groups]
    return Menu(
        costs=np.array([_together(costs[group]) for group in shared]),
        bits=np.array([bits[group].sum(axis=0) for group in shared]),
        weights=sum(layer.first.out_features * layer.first.in_features for layer in about.layers),
    )


def _together(costs: np.ndarray) -> np.ndarray:
    """Return the costs of layers that share a format; 16 bits where they have no other in common."""
    total = np.asarray(costs.sum(axis=0))
    if np.isnan(total).all():
        total[-1] = 0.0
    return total


def budget_reasons(about: PlanProblem, chosen: Sequence[str]) -> list[str]:
    """Say what each layer got, and what the next step up would have bought."""
    return [_budget_reason(about, i, name) for i, name in enumerate(chosen)]


def _budget_reason(about: PlanProblem, i: int, name: str) -> str:
    if i in about.stuck:
        return about.stuck[i]
    bits = {candidate: about.bits(i, candidate) for candidate in about.candidates}
    weights = about.layers[i].first.out_features * about.layers[i].first.in_features
    error = about.error(i, name)
    words = "no quantizer" if name == HIGH else f"error {error:.3g}" if not math.isnan(error) else "error not measured"
    better = [c for c in about.candidates if bits[c] > bits[name] and about.error(i, c) < error]
    if not better:
        return words
    following = min(better, key=lambda candidate: bits[candidate])
    more, less = (bits[following] - bits[name]) / weights, about.error(i, following)
    gain = f"would have {less:.2g}" if less else "would lose nothing"
    return f"{words}; {about.format_of(i, following)} {gain} for {more:.2f} bits more"
