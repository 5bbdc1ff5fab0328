"""Choose one format per unit so that the sum of costs is least and the mean of bits is what was asked."""

import math
from dataclasses import dataclass

import numpy as np

from alpha_callbacks.errors import PlanError

TOLERANCE = 0.01  # effective bits
_CELL = TOLERANCE / 100  # resolution of the table, in mean bits
_CORE = 400  # units decided exactly; what lies beyond is decided by its price alone


@dataclass(frozen=True)
class Menu:
    """What may be chosen.

    Attributes:
        costs: shape (units, formats), >= 0; nan where a unit cannot take a format.
        bits: shape (units, formats), all bits of the unit in that format.
        weights: number of weights in all units.
    """

    costs: np.ndarray
    bits: np.ndarray
    weights: int

    @property
    def allowed(self) -> np.ndarray:
        """Which entries may be chosen."""
        return np.asarray(np.isfinite(self.costs))

    @property
    def reachable(self) -> tuple[float, float]:
        """Smallest and largest mean of bits."""
        low = np.where(self.allowed, self.bits, np.inf).min(axis=1).sum()
        high = np.where(self.allowed, self.bits, -np.inf).max(axis=1).sum()
        return float(low / self.weights), float(high / self.weights)


def choose(menu: Menu, average_bits: float, *, slack: float = TOLERANCE, most: float | None = None) -> list[int]:
    """Return the format of each unit: least total cost with a mean of bits in [average - slack, average].

    A mean up to average + 0.01 is taken where units are so large that none lies below. Multiple-choice knapsack: every
    unit takes its best format at the price of a bit that meets the budget; the units for which that is closest are then
    decided together by dynamic programming.

    Args:
        menu: what may be chosen.
        average_bits: the mean.
        slack: how much of it may be left over.
        most: largest mean that another menu of these units reaches, for the message.

    Raises:
        PlanError: no choice has such a mean; names what can be reached.

    Source: Kellerer, Pferschy and Pisinger, Knapsack Problems, chapter 11: Lagrangian bound, core, dynamic programming.
    """
    chosen, core = _priced(menu, average_bits)
    rest = np.setdiff1d(np.arange(len(chosen)), core)
    spent = menu.bits[rest, chosen[rest]].sum()
    ways = _Ways(menu, core, most=(average_bits + TOLERANCE) * menu.weights - spent)
    means = (ways.bits + spent) / menu.weights
    for low, high in ((average_bits - slack, average_bits), (average_bits - TOLERANCE, average_bits + TOLERANCE)):
        inside = (means >= low - 1e-9) & (means <= high + 1e-9)
        if inside.any():
            chosen[core] = ways.path(int(np.where(inside, ways.costs, np.inf).argmin()))
            return [int(pick) for pick in chosen]
    lowest, highest = menu.reachable[0], most or menu.reachable[1]
    whole = (_Ways(menu, core, most=menu.reachable[1] * menu.weights - spent).bits + spent) / menu.weights
    near = [*means[means <= average_bits], *whole[whole > average_bits]]
    raise PlanError(
        f"avg_bits: expected a mean that these layers and candidates can reach to {TOLERANCE} (from {lowest:.3f} to "
        f"{highest:.3f}), got {average_bits:g}. {_nearest(average_bits, near)}"
    )


def _nearest(average_bits: float, means: list[float]) -> str:
    """Say which means that can be reached lie nearest on either side, and why one side has none."""
    below = max((mean for mean in means if mean <= average_bits), default=math.nan)
    above = min((mean for mean in means if mean > average_bits), default=math.nan)
    if math.isnan(below):
        return f"Nearest above: {above:.3f}; below that no layer has a format."
    if math.isnan(above):
        return f"Nearest below: {below:.3f}; beyond that no layer has a format."
    return f"Nearest below: {below:.3f}, above: {above:.3f}: layers are too few or too large for what lies between."


def _priced(menu: Menu, average_bits: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the choice of each unit at the price of a bit that meets the budget, and the units nearest to another."""
    costs, bits = np.where(menu.allowed, menu.costs, np.inf), menu.bits
    scale = np.where(menu.allowed, costs, 0).max() / np.median(bits) or 1.0
    low, high = 1e-15 * scale, 1e15 * scale
    units = np.arange(len(costs))
    for _ in range(200):
        price = math.sqrt(low * high)
        chosen = (costs + price * bits).argmin(axis=1)
        low, high = (price, high) if bits[units, chosen].sum() > average_bits * menu.weights else (low, price)
    priced = costs + high * bits
    chosen = priced.argmin(axis=1)
    best = priced[units, chosen]
    priced[units, chosen] = np.inf
    regret = (priced.min(axis=1) - best) / bits[units, chosen]
    return chosen, np.sort(regret.argsort(kind="stable")[:_CORE])


class _Ways:
    """The cheapest way to spend about so many bits, for every cell of bits up to a limit.

    Attributes:
        costs: shape (cells,), inf where no way leads.
        bits: shape (cells,), what that way spends in truth; nan where there is none.
    """

    def __init__(self, menu: Menu, core: np.ndarray, *, most: float) -> None:
        allowed = menu.allowed[core]
        (units, formats), cell = allowed.shape, _CELL * menu.weights
        all_bits = np.where(allowed, menu.bits[core], np.inf)
        cheapest = all_bits.min(axis=1)
        extra = all_bits - cheapest[:, None]
        span = min(most - cheapest.sum(), np.where(allowed, extra, 0).max(axis=1).sum())
        cells = max(1, math.ceil(span / cell) + 1 + math.ceil(math.sqrt(units)))  # the last: roundings add up
        self._shifts = np.where(allowed, np.rint(np.where(allowed, extra, 0) / cell), cells).astype(np.int64)
        self._picks = np.zeros((units, cells), dtype=np.uint8)
        costs, bits = np.full(cells, np.inf), np.full(cells, np.nan)
        costs[0], bits[0] = 0.0, cheapest.sum()
        for unit in range(units):
            after_costs, after_bits = np.full(cells, np.inf), np.full(cells, np.nan)
            for pick in range(formats):
                shift = int(self._shifts[unit, pick])
                if shift >= cells:
                    continue
                reached = costs[: cells - shift] + menu.costs[core[unit], pick]
                better = reached < after_costs[shift:]
                after_costs[shift:][better] = reached[better]
                after_bits[shift:][better] = bits[: cells - shift][better] + extra[unit, pick]
                self._picks[unit, shift:][better] = pick
            costs, bits = after_costs, after_bits
        self.costs, self.bits = costs, bits

    def path(self, cell: int) -> list[int]:
        """Return the format of each unit on the way to a cell."""
        picks = []
        for unit in range(len(self._picks) - 1, -1, -1):
            picks.append(int(self._picks[unit, cell]))
            cell -= int(self._shifts[unit, picks[-1]])
        return picks[::-1]
