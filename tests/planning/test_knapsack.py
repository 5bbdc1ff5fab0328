import re
from itertools import product

import numpy as np
import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.knapsack import TOLERANCE, Menu, choose

BITS = np.array([2.5, 3.5, 4.25, 4.5, 6.25, 8.03, 8.5, 16])


def menu(units: int, formats: int, seed: int = 0, *, forbidden: float = 0.0) -> Menu:
    """Return units of different sizes whose errors fall by about four a bit."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 20, units) * 1_000_000
    costs = rng.random((units, 1)) * 4.0 ** -BITS[:formats] * (1 + rng.random((units, formats)) / 5)
    costs[:, :-1][rng.random((units, formats - 1)) < forbidden] = np.nan
    return Menu(costs, weights[:, None] * BITS[:formats], int(weights.sum()))


def outcome(of: Menu, picks: list[int]) -> tuple[float, float]:
    at = (np.arange(len(picks)), picks)
    return float(of.costs[at].sum()), float(of.bits[at].sum() / of.weights)


@pytest.mark.parametrize("seed", range(6))
def test_equals_trying_everything(seed: int) -> None:
    small = menu(7, 4, seed, forbidden=0.2)
    ways = [picks for picks in product(range(4), repeat=7) if all(small.allowed[np.arange(7), picks])]
    outcomes = [outcome(small, list(picks)) for picks in ways]
    for target in np.linspace(*small.reachable, 9):
        below = [cost for cost, bits in outcomes if -TOLERANCE - 1e-9 <= bits - target <= 1e-9]
        around = [cost for cost, bits in outcomes if abs(bits - target) <= TOLERANCE + 1e-9]
        if below or around:
            assert outcome(small, choose(small, target))[0] == pytest.approx(min(below or around), rel=1e-12)
        else:
            with pytest.raises(PlanError, match=r"avg_bits: expected a mean .* from \d.*Nearest below") as refused:
                choose(small, target)
            means = [bits for _, bits in outcomes]
            under, over = max(b for b in means if b <= target), min(b for b in means if b > target)
            said = [float(number) for number in re.findall(r"(?:below|above): ([\d.]+\d)", str(refused.value))]
            assert said == pytest.approx([under, over], abs=1e-3)


@pytest.mark.parametrize(("units", "formats"), [(60, 3), (128, 6), (560, 8)])
def test_is_as_good_as_highs(units: int, formats: int) -> None:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, vstack

    large, number = menu(units, formats, seed=units), units * formats
    target = sum(large.reachable) / 2 * 0.9
    one_each = csr_array((np.ones(number), (np.repeat(np.arange(units), formats), np.arange(number))))
    mean = csr_array((large.bits.ravel() / large.weights)[None])
    scale = large.costs.max()
    best = milp(
        large.costs.ravel() / scale,
        integrality=np.ones(number),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            vstack([one_each, mean]), np.append(np.ones(units), target - TOLERANCE), np.append(np.ones(units), target)
        ),
        options={"mip_rel_gap": 1e-6},
    )
    cost, bits = outcome(large, choose(large, target))
    assert target - TOLERANCE <= bits <= target + 1e-9
    assert cost <= best.fun * scale * (1 + 3e-4)


def test_thousands_of_experts_meet_the_budget() -> None:
    many = menu(5000, 6)
    picks = choose(many, 4.5)
    cost, bits = outcome(many, picks)
    assert 4.49 <= bits <= 4.5
    shuffled = np.random.default_rng(0).permutation(picks).tolist()
    assert cost < outcome(many, shuffled)[0]


@pytest.mark.parametrize("target", [1.0, 20.0])
def test_out_of_reach_names_the_range(target: float) -> None:
    side = "above: 2.500; below" if target < 2.5 else "below: 4.500; beyond"
    with pytest.raises(PlanError, match=rf"\(from 2.500 to 4.500\), got .* Nearest {side} that no layer has a format"):
        choose(menu(20, 4), target)


def test_free_choices_cost_nothing() -> None:
    zero = Menu(np.zeros((3, 2)), np.array([[4.0, 8.0]] * 3), 3)
    assert sorted(choose(zero, 20 / 3)) == [0, 1, 1]
