"""Layers of two tables side by side: the records that statistics, findings and files of a comparison read."""

import math
from dataclasses import dataclass

from alpha_callbacks.estimators.spread import TWO_SIDED
from alpha_callbacks.tables.table import Row

SAME = 1e-11  # relative; below it two exact alphas are equal: a results CSV carries 12 digits of each


@dataclass(frozen=True)
class Pair:
    """One layer in two tables.

    Attributes:
        a: its row in the first table, None where only the second has the layer.
        b: its row in the second table, None where only the first has the layer.
        reason: why the alphas are not compared; "" if they are.
        relative_error: ‖B − A‖_F / ‖A‖_F of the matrices themselves; nan where these were not read.
    """

    a: Row | None
    b: Row | None
    reason: str = ""
    relative_error: float = math.nan

    @property
    def row(self) -> Row:
        """The row that gives name, category and block: A's where there is one."""
        row = self.a or self.b
        assert row is not None
        return row

    @property
    def ok(self) -> bool:
        """True if the layer takes part in the statistics."""
        return not self.reason

    @property
    def side(self) -> str:
        """Where the layer is: "both", "a" or "b"."""
        return "a" if self.b is None else "b" if self.a is None else "both"

    @property
    def delta(self) -> float:
        """Alpha of B - alpha of A; nan where they are not compared."""
        return self.b.alpha - self.a.alpha if self.ok and self.a and self.b else math.nan

    @property
    def delta_ratio(self) -> float:
        """alpha_ratio of B - alpha_ratio of A."""
        return self.b.alpha_ratio - self.a.alpha_ratio if self.ok and self.a and self.b else math.nan

    @property
    def delta_error(self) -> float:
        """What |delta - true delta| is at most: proved bounds of shared alphas, the solver's error, printed digits."""
        return _error(self.a) + _error(self.b) if self.ok and self.a and self.b else math.nan

    @property
    def bounded(self) -> bool:
        """True if one alpha is shared on the strength of a bound, not measured."""
        return self.ok and any(row is not None and row.method == "bounded" for row in (self.a, self.b))

    @property
    def resolved(self) -> bool:
        """True if the two alphas differ by more than `delta_error`, so that their difference is a number."""
        return abs(self.delta) > self.delta_error

    @property
    def spread(self) -> float:
        """What new noise in both matrices would give delta, as a standard deviation (`estimators.spread`)."""
        return math.hypot(self.a.alpha_spread, self.b.alpha_spread) if self.ok and self.a and self.b else math.nan

    @property
    def moved(self) -> bool:
        """True if delta is resolved and beyond 1.96 spreads: more than other noise would do in 95 % of cases."""
        return self.resolved and abs(self.delta) > TWO_SIDED * self.spread

    @property
    def tails(self) -> str:
        """The verdicts on the tails, in one word where they are the same: "clear", "clear → doubtful"."""
        found = [row.tail or "?" for row in (self.a, self.b) if row is not None]
        return " → ".join(dict.fromkeys(found)) if set(found) != {"?"} else ""

    @property
    def known_delta(self) -> float:
        """Delta, 0 where the two alphas cannot be told apart: for charts, which would blow up rounding."""
        return 0.0 if self.ok and not self.resolved else self.delta

    @property
    def sqnr_db(self) -> float:
        """The same as a signal-to-noise ratio in decibels; inf where the matrices are equal."""
        return -20 * math.log10(self.relative_error) if self.relative_error else math.inf  # nan stays nan

    @property
    def stderr(self) -> float:
        """The two i.i.d. guides combined; an upper guide, since the two spectra resemble each other."""
        return math.hypot(self.a.stderr, self.b.stderr) if self.ok and self.a and self.b else math.nan

    @property
    def delta_in_stderr(self) -> float:
        """Delta / stderr."""
        return self.delta / self.stderr if self.stderr > 0 else math.nan


@dataclass(frozen=True)
class PairedLayers:
    """Layers of two tables side by side.

    Attributes:
        pairs: one per layer, in the order of A; those that only B has last.
        precisions: of A and of B.
        labels: the names of A and B.
    """

    pairs: tuple[Pair, ...]
    precisions: tuple[str, str]
    labels: tuple[str, str] = ("A", "B")

    @property
    def compared(self) -> tuple[Pair, ...]:
        """The pairs with a delta; only they take part in statistics."""
        return tuple(pair for pair in self.pairs if pair.ok)

    @property
    def left_out(self) -> tuple[Pair, ...]:
        """The pairs without a delta, each with its reason."""
        return tuple(pair for pair in self.pairs if not pair.ok)


def _error(row: Row) -> float:
    proved = 0.0 if math.isnan(row.alpha_error_bound) else row.alpha_error_bound
    return max(proved, abs(row.alpha) * SAME)
