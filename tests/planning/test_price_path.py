"""The path of prices against all choices that there are."""

import itertools

import numpy as np
import pytest

from alpha_callbacks.planning.knapsack import Menu, choose
from alpha_callbacks.planning.price_path import price_path


def menu(seed: int, units: int = 4, formats: int = 4) -> Menu:
    generator = np.random.default_rng(seed)
    bits = np.sort(generator.integers(2, 40, (units, formats)), axis=1).astype(float)
    costs = np.sort(generator.uniform(0, 1, (units, formats)), axis=1)[:, ::-1].copy()
    costs[generator.uniform(size=costs.shape) < 0.2] = np.nan
    costs[:, -1] = np.nan_to_num(costs[:, -1])
    return Menu(costs, bits, weights=units)


@pytest.mark.parametrize("seed", range(12))
def test_no_choice_lies_below_the_path(seed: int) -> None:
    given = menu(seed)
    path = price_path(given)
    for picks in itertools.product(*[np.flatnonzero(row) for row in given.allowed]):
        units = range(len(picks))
        bits = sum(given.bits[u, p] for u, p in zip(units, picks, strict=True))
        cost = sum(given.costs[u, p] for u, p in zip(units, picks, strict=True))
        if bits >= path.bits[0]:
            assert cost >= np.interp(bits, path.bits, path.costs) - 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_points_of_the_path_are_choices_and_what_the_knapsack_finds(seed: int) -> None:
    given = menu(seed)
    path, now = price_path(given), list(price_path(given).start)
    for at, (unit, finer) in enumerate([(0, now[0]), *path.steps]):
        now[unit] = finer
        assert given.allowed[range(len(now)), now].all()
        assert sum(given.costs[range(len(now)), now]) == pytest.approx(path.costs[at])
        best = choose(given, path.bits[at] / given.weights, slack=np.inf)
        assert sum(given.costs[range(len(now)), best]) == pytest.approx(path.costs[at])


def test_the_knee_is_where_a_bit_saves_less_than_the_mean() -> None:
    costs = np.array([[9.0, 1.0, 0.0]] * 5)
    path = price_path(Menu(costs, np.array([[3.0, 4.0, 8.0]] * 5), weights=5))
    assert path.knee == 5 and path.bits[5] == 20  # all units at 4 bits
    assert price_path(Menu(costs[:, :1], np.array([[3.0]] * 5), weights=5)).knee is None
    straight = price_path(Menu(np.array([[2.0, 1.0]] * 5), np.array([[3.0, 4.0]] * 5), weights=5))
    assert straight.knee is None and len(straight.steps) == 5
