"""What became of one weight: what the loop yields, and a journal keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from alpha_callbacks.tables.table import Row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Result:
    """What became of one weight.

    Attributes:
        layer_name: its name.
        rows: one per precision.
        seconds: wall time of its analysis.
        spectra: precision -> eigenvalues, where they were asked for.
    """

    layer_name: str
    rows: tuple[Row, ...]
    seconds: float
    spectra: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def light(self) -> Result:
        """The same without spectra, to be kept in memory."""
        return replace(self, spectra={})
