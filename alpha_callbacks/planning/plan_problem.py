"""What a policy decides about: layers, which of them go together, and the formats to choose from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import LayerRows
from alpha_callbacks.utils.lazy import lazy_property

HIGH = "16-bit"  # the candidate that needs no quantizer: bf16 or fp16, as the layer is stored


@dataclass(frozen=True)
class PlanProblem:
    """What a policy decides about.

    Attributes:
        layers: those that may be quantized.
        groups: indices of layers that share a format.
        candidates: formats to choose from, 16-bit last.
        reference: precision of the alphas.
        usable: for each layer, whether anything but 16 bits may be chosen.
        highs: the 16-bit format of each layer.
    """

    layers: Sequence[LayerRows]
    groups: Sequence[tuple[int, ...]]
    candidates: tuple[str, ...]
    reference: str
    usable: Sequence[bool]
    highs: Sequence[str]

    def alpha(self, i: int) -> float:
        """Alpha of a layer at the reference precision; nan if it has none."""
        return self.layers[i][self.reference].alpha

    def format_of(self, i: int, candidate: str) -> str:
        """Name of a candidate for one layer: "16-bit" is bf16 or fp16, whichever it is stored in."""
        return self.highs[i] if candidate == HIGH else candidate

    def bits(self, i: int, candidate: str) -> float:
        """Bits of the whole layer in a candidate."""
        row = self.layers[i].first
        precision = get_precision(self.format_of(i, candidate))
        return precision.effective_bits(row.out_features, row.in_features) * row.out_features * row.in_features

    def fits(self, i: int, candidate: str) -> bool:
        """Return False for a format whose blocks do not divide the rows of a layer."""
        return get_precision(candidate).fits(self.layers[i].first.in_features)

    def possible(self, i: int, candidate: str) -> bool:
        """Return False for a format that does not fit a layer, or in which it was scanned and has no alpha."""
        if candidate == HIGH:
            return True
        row = next((row for row in self.layers[i].rows if row.precision == candidate), None)
        return self.usable[i] and self.fits(i, candidate) and (row is None or row.ok)

    @lazy_property
    def stuck(self) -> dict[int, str]:
        """Layers that can only stay at 16 bits, each with its own reason or that of a layer it shares a format with."""
        reasons: dict[int, str] = {}
        for group in self.groups:
            lost = next((i for i in group if not self.usable[i]), None)
            if lost is not None:
                partner = f"shares a format with {self.layers[lost].first.layer_name}, which stays at 16 bits"
                reasons.update({i: partner if self.usable[i] else self._why_not(i) for i in group})
            elif (
                not any(all(self.possible(i, c) for i in group) for c in self.candidates[:-1]) and self.candidates[:-1]
            ):
                reasons.update({i: self._why_none(i) for i in group})
        return reasons

    def _why_none(self, i: int) -> str:
        if not any(self.fits(i, name) for name in self.candidates[:-1]):
            columns = self.layers[i].first.in_features
            return f"no candidate has blocks that divide its {columns} columns, so it stays at 16 bits"
        return "no candidate is possible here, so it stays at 16 bits"

    def _why_not(self, i: int) -> str:
        row = self.layers[i][self.reference]
        if not row.ok:
            return f"no alpha ({row.status}: {row.reason}), so it stays at 16 bits"
        return "no candidate could be measured here, so it stays at 16 bits"

    def error(self, i: int, candidate: str) -> float:
        """Relative error of a layer in a candidate; nan where it was not measured or there is no alpha."""
        name = self.format_of(i, candidate)
        rows = {row.precision: row for row in self.layers[i].rows}
        if name not in rows:
            return 0.0 if candidate == HIGH else math.nan
        return rows[name].relative_error if rows[name].ok else math.nan
