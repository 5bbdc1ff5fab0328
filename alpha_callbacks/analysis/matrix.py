"""A finite weight that is not zero, and what is measured of its entries, once for all precisions."""

from dataclasses import dataclass, field

from alpha_callbacks.analysis.quantization_error import (
    BlockMap,
    QuantizationError,
    Sizes,
    error_of,
    measure_quantization_error,
)
from alpha_callbacks.analysis.short_side import short_side_parts
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.blocks import wide
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers.lanczos import spectral_norm
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.weight import Weight


@dataclass(frozen=True)
class Matrix:
    """A weight to decompose, with the options.

    What it keeps must not lead back to it: in a reference cycle the weight would outlive its layer until the cyclic
    collector runs.

    Attributes:
        weight: finite, not all zero.
        sizes: of its entries.
        options: what to compute.
    """

    weight: Weight
    sizes: Sizes
    options: AnalysisOptions
    _errors: dict[str, QuantizationError] = field(default_factory=dict)

    @property
    def estimator(self) -> Estimator:
        """What the tail is fitted with."""
        return self.options.estimator

    @lazy_property
    def base_norm(self) -> float:
        """||W0||_F of the weight that an update changes; 0 for weights, and where it is not known."""
        return self.weight.base_norm() if self.weight.base_norm is not None else 0.0

    @lazy_property
    def is_held(self) -> bool:
        """True if one of the precisions holds the stored matrix, so that it will be decomposed in any case."""
        return any(precision.holds(self.weight.dtype) for precision in map(get_precision, self.options.precisions))

    def after(self, precision: Precision | None) -> StoredMatrix:
        """Return what an estimator may know of the weight after the round trip (None: as stored)."""
        eps = max(self.sizes.eps, (precision.eps or 0.0) if precision else 0.0)
        return StoredMatrix(self.weight.out_features, self.weight.in_features, eps, self.sizes.typical)

    def quantization_error(self, precision: Precision) -> QuantizationError:
        """Return what the precision does to the entries, measured once."""
        if precision.name not in self._errors:
            self._errors[precision.name] = measure_quantization_error(self.weight, precision, self.sizes.largest)
        return self._errors[precision.name]

    def norm(self) -> float:
        """Return ||W||_2, where no decomposition tells it."""
        return self._norm_of(lambda rows: wide(rows) / self.sizes.largest)

    def error_norm(self, precision: Precision) -> float:
        """Return ||W - Q(W)||_2."""
        return self._norm_of(error_of(precision, self.sizes.largest))

    def _norm_of(self, change: BlockMap) -> float:
        parts = short_side_parts(self.weight, change)
        n, device = self.weight.n_eigs, self.options.device
        return self.sizes.largest * spectral_norm(parts, n, rows=self.weight.numel // n, device=device)
