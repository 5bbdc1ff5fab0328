"""The documented rule: alpha against two bounds. Its bounds and its sign are disputed (docs/quantization.md)."""

from dataclasses import dataclass
from statistics import pstdev
from typing import Literal

from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import LayerRows

Protect = Literal["high-alpha", "low-alpha"]


@dataclass(frozen=True)
class Thresholds:
    """The documented rule: alpha against two bounds.

    Attributes:
        bounds: below the first a 4-bit format, above the second 16 bits, else an 8-bit format.
        variation: a layer whose alpha has this standard deviation or more over the 16-bit and wider precisions stays at
            16 bits.
        middle: the 8-bit format.
        low: the 4-bit format.
        protect: "high-alpha" as documented; "low-alpha" turns the rule round.
    """

    bounds: tuple[float, float]
    variation: float
    middle: str
    low: str
    protect: Protect

    def decide(self, about: PlanProblem) -> tuple[list[str], list[str]]:
        """Return (candidate, reason) of each layer; of layers that share a format the finest counts."""
        each = [self._one(about, i) for i in range(len(about.layers))]
        chosen, reasons = [one for one, _ in each], [reason for _, reason in each]
        fineness = {self.low: 0, self.middle: 1, HIGH: 2}
        for group in about.groups:
            finest = max(group, key=lambda i: fineness[chosen[i]])
            shared, owner = chosen[finest], about.layers[finest].first.layer_name
            lost = next((i for i in group if not about.possible(i, shared)), None)
            if lost is not None:
                shared, owner = HIGH, f"{about.layers[lost].first.layer_name}, where {shared} failed"
            for i in group:
                if chosen[i] != shared:
                    reasons[i] = f"shares a format with {owner}; alone: {chosen[i]}, {reasons[i]}"
                    chosen[i] = shared
        return chosen, reasons

    def _one(self, about: PlanProblem, i: int) -> tuple[str, str]:
        alpha, (low, high) = about.alpha(i), self.bounds
        if i in about.stuck:
            return HIGH, about.stuck[i]
        spread = self._spread(about.layers[i])
        if spread >= self.variation:
            return (
                HIGH,
                f"alpha varies by {spread:.2g} over the 16-bit and wider precisions, {self.variation:g} or more",
            )
        ends = {"high-alpha": (self.low, HIGH), "low-alpha": (HIGH, self.low)}[self.protect]
        if alpha > high:
            pick, reason = ends[1], f"alpha {alpha:.2f} above {high:g}"
        elif alpha < low:
            pick, reason = ends[0], f"alpha {alpha:.2f} below {low:g}"
        else:
            pick, reason = self.middle, f"alpha {alpha:.2f} from {low:g} to {high:g}"
        return (pick, reason) if about.possible(i, pick) else (HIGH, f"{reason}, but {pick} is not possible here")

    @staticmethod
    def _spread(layer: LayerRows) -> float:
        alphas = [row.alpha for row in layer.rows if row.ok and not get_precision(row.precision).low_bit]
        return pstdev(alphas) if len(alphas) > 1 else 0.0
