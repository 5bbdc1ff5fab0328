"""All choices that are best at some price of a bit: the lower hull of costs against bits, from the fewest bits up."""

from dataclasses import dataclass

import numpy as np

from alpha_callbacks.planning.knapsack import Menu


@dataclass(frozen=True)
class PricePath:
    """A walk over choices; each step gives one unit a finer format, the one that saves most per bit first.

    What lies between two steps is not on the hull: one unit more or less is all that the best choice there can differ
    in cost.

    Attributes:
        start: format of each unit at the fewest bits.
        steps: (unit, format) of each step.
        bits: all bits before the first step and after each, shape (steps + 1,).
        costs: all costs, the same shape.
    """

    start: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]
    bits: np.ndarray
    costs: np.ndarray

    @property
    def knee(self) -> int | None:
        """Number of steps after which a bit saves less than the mean of the whole path; None without a bend.

        Source: Satopää et al. 2011 (Kneedle): on a convex curve the point farthest below the chord.
        """
        spans = self.bits[-1] - self.bits[0], self.costs[0] - self.costs[-1]
        if len(self.steps) < 2 or not min(spans) > 0:
            return None
        below = 1 - (self.bits - self.bits[0]) / spans[0] - (self.costs - self.costs[-1]) / spans[1]
        at = int(below.argmax())
        return at if below[at] > 0.05 else None


def price_path(menu: Menu) -> PricePath:
    """Return the path of a menu.

    Source: Kellerer, Pferschy and Pisinger, Knapsack Problems, chapter 11: the greedy solution of the relaxed problem.
    """
    allowed = menu.allowed
    hulls = [_hull(menu.bits[unit], menu.costs[unit], allowed[unit]) for unit in range(len(menu.costs))]
    gains = [
        ((menu.costs[unit, low] - menu.costs[unit, high]) / (menu.bits[unit, high] - menu.bits[unit, low]), unit, high)
        for unit, hull in enumerate(hulls)
        for low, high in zip(hull, hull[1:], strict=False)
    ]
    gains.sort(key=lambda gain: -gain[0])  # stable: steps of a unit stay in order, since a hull is convex
    now, bits, costs = [hull[0] for hull in hulls], [0.0], [0.0]
    start = tuple(now)
    for _, unit, high in gains:
        bits.append(bits[-1] + menu.bits[unit, high] - menu.bits[unit, now[unit]])
        costs.append(costs[-1] + menu.costs[unit, high] - menu.costs[unit, now[unit]])
        now[unit] = high
    units = np.arange(len(start))
    first = menu.bits[units, list(start)].sum(), menu.costs[units, list(start)].sum()
    steps = tuple((unit, high) for _, unit, high in gains)
    return PricePath(start, steps, np.array(bits) + first[0], np.array(costs) + first[1])


def _hull(bits: np.ndarray, costs: np.ndarray, allowed: np.ndarray) -> list[int]:
    """Return the formats on the lower convex hull of one unit, from the fewest bits to the least cost."""
    hull: list[int] = []
    for j in sorted(map(int, np.flatnonzero(allowed)), key=lambda j: (bits[j], costs[j])):
        if hull and (costs[j] >= costs[hull[-1]] or bits[j] == bits[hull[-1]]):
            continue
        while len(hull) > 1 and _turns_up(bits, costs, hull[-2], hull[-1], j):
            hull.pop()
        hull.append(j)
    return hull


def _turns_up(bits: np.ndarray, costs: np.ndarray, a: int, b: int, c: int) -> bool:
    """Return True if b lies on or above the line from a to c."""
    return bool((costs[b] - costs[a]) * (bits[c] - bits[a]) >= (costs[c] - costs[a]) * (bits[b] - bits[a]))
