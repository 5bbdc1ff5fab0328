"""One weight -> its rows. Pure: everything that trains, scans or draws sits on this function."""

import math
from dataclasses import dataclass, replace

from alpha_callbacks.categories import block_index
from alpha_callbacks.estimators import HillFit, Tail, hill_alpha, tail_of, tail_size
from alpha_callbacks.null import alpha_null
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.perturbation import alpha_error_bound
from alpha_callbacks.precision import Precision, dtype_of, get_precision
from alpha_callbacks.round_trip import Damage, Sizes, measure_damage, measure_sizes, short_side_blocks
from alpha_callbacks.spectrum import Spectrum, spectrum
from alpha_callbacks.table import Method, Row, Status
from alpha_callbacks.weight import Weight

# Of bf16. Coarser formats are studied for their noise, which must not be mistaken for a loss of rank.
_COARSEST_EPS = 2.0**-7
_LARGEST_EXPONENT = 400  # |log2 max|w||; fp64 weights alone can be beyond it

_REASONS: dict[Status, str] = {
    "degenerate": "all eigenvalues of the tail are equal to within the stored digits",
    "rank_deficient": "the threshold eigenvalue is zero to within the stored digits",
}


def analyze_weight(weight: Weight, options: AnalysisOptions) -> tuple[Row, ...]:
    """Return one row a precision, in the order asked.

    The stored matrix is decomposed at most once, and shared with every precision that returns the same bits or moves
    alpha by less than `options.reuse_tol` of itself (proved, see `perturbation`). A layer that cannot be analysed
    yields rows with a status and a reason.
    """
    try:
        return _analyze(weight, options)
    except Exception as error:  # whatever one layer does, the others go on; the row keeps what happened
        return rows_without_alpha(weight, options, "failed", f"{type(error).__name__}: {error}")


def _analyze(weight: Weight, options: AnalysisOptions) -> tuple[Row, ...]:
    if weight.unsupported:
        return rows_without_alpha(weight, options, "unsupported", weight.unsupported)
    if weight.n_eigs < 2:
        return rows_without_alpha(weight, options, "too_small", "fewer than 2 eigenvalues, so no tail and threshold")
    weight = weight.on(options.device)
    if options.load_dtype is not None:
        weight = weight.cast(dtype_of(options.load_dtype))
    weight = weight.held()
    sizes = measure_sizes(weight)
    if not math.isfinite(sizes.largest):
        return rows_without_alpha(weight, options, "non_finite", "the stored weight holds nan or inf")
    if sizes.largest and abs(math.log2(sizes.largest)) > _LARGEST_EXPONENT:
        reason = f"entries of size {sizes.largest:.1g}, whose squares leave the range of fp64. Rescale the weight"
        return rows_without_alpha(weight, options, "failed", reason)
    if sizes.largest == 0:
        return rows_without_alpha(weight, options, "degenerate", "every weight is zero")
    matrix = _Matrix(weight, sizes, options)
    precisions = [get_precision(name) for name in options.precisions]
    stored = matrix.solve(None) if any(p.holds(weight.dtype) for p in precisions) else None
    rows = []
    for precision in precisions:
        if stored is not None and precision.holds(weight.dtype):
            rows.append(stored.row(precision.name, method="lossless", bound=0.0))
            continue
        damage = measure_damage(weight, precision)
        if damage.exact:
            stored = stored or matrix.solve(None)
            rows.append(stored.row(precision.name, method="lossless", bound=0.0))
        elif damage.overflow:
            reason = f"{damage.overflow} of {weight.numel} weights overflow to inf in {precision.name}"
            rows.append(_count(matrix.blank(precision.name, "non_finite", reason), damage))
        elif stored is not None and (bound := stored.error_bound(damage)) <= options.reuse_tol * stored.fit.alpha:
            rows.append(_count(stored.row(precision.name, method="bounded", bound=bound), damage))
        else:
            rows.append(_count(matrix.solve(precision).row(precision.name, method="computed", bound=math.nan), damage))
    return tuple(rows)


@dataclass(frozen=True)
class _Matrix:
    """A finite weight that is not zero, and how to decompose it."""

    weight: Weight
    sizes: Sizes
    options: AnalysisOptions

    def solve(self, precision: Precision | None) -> "_Solved":
        """Decompose the weight after the round trip (None: as stored) and fit its tail."""
        weight, options = self.weight, self.options
        eps = max(self.sizes.eps, (precision.eps or 0.0) if precision else 0.0)
        tail = tail_of(
            weight.out_features,
            weight.in_features,
            k_frac=options.k_frac,
            k_min=options.k_min,
            threshold=options.threshold,
            eps=min(eps, _COARSEST_EPS),
            typical=self.sizes.typical,
        )
        result = spectrum(
            lambda: short_side_blocks(weight, precision),
            weight.n_eigs,
            tail=tail,
            absmax=self.sizes.largest,
            solver=options.solver,
            device=options.device,
        )
        fit = hill_alpha(
            result.evals,
            k=tail.k,
            threshold=tail.threshold,
            spread_floor=tail.spread_floor,
            rank_floor=tail.rank_floor(result.frobenius_norm**2),
        )
        return _Solved(self, result, fit, tail)

    def blank(self, precision: str, status: Status, reason: str) -> Row:
        """Return a row without alpha."""
        return _blank(self.weight, self.options, precision, status, reason)


@dataclass(frozen=True)
class _Solved:
    """A decomposition with its fit, ready to be reported under several precisions."""

    matrix: _Matrix
    spectrum: Spectrum
    fit: HillFit
    tail: Tail

    def error_bound(self, damage: Damage) -> float:
        """Return the proved bound on the change of alpha that this damage can make."""
        weight = self.matrix.weight
        summed = weight.out_features + weight.in_features
        return alpha_error_bound(self.spectrum.evals, self.fit, damage.error, self.tail, summed=summed)

    def row(self, precision: str, *, method: Method, bound: float) -> Row:
        """Return the row of one precision that this decomposition answers for."""
        fit = self.fit
        if self.spectrum.accuracy and method != "lossless":
            bound = (0.0 if math.isnan(bound) else bound) + self.spectrum.accuracy * fit.alpha
        return replace(
            self.matrix.blank(precision, fit.status, _REASONS.get(fit.status, "")),
            alpha=fit.alpha,
            alpha_error_bound=bound if fit.status == "ok" else math.nan,
            k_used=fit.k,
            method=method,
            solver=self.spectrum.solver,
            x_min=fit.x_min,
            stderr=fit.stderr,
            ks_distance=fit.ks_distance,
            spectral_norm=math.sqrt(float(self.spectrum.evals[0])),
            frobenius_norm=self.spectrum.frobenius_norm,
        )


def rows_without_alpha(weight: Weight, options: AnalysisOptions, status: Status, reason: str) -> tuple[Row, ...]:
    """Return the rows of a layer that has no alpha, with the reason."""
    return tuple(_blank(weight, options, name, status, reason) for name in options.precisions)


def _blank(weight: Weight, options: AnalysisOptions, precision: str, status: Status, reason: str) -> Row:
    k = tail_size(weight.n_eigs, k_frac=options.k_frac, k_min=options.k_min) if weight.n_eigs >= 2 else 0
    return Row(
        layer_name=weight.layer_name,
        category=weight.category,
        block=block_index(weight.layer_name),
        out_features=weight.out_features,
        in_features=weight.in_features,
        stored_dtype=weight.stored_dtype,
        tied_to=weight.tied_to,
        precision=precision,
        status=status,
        reason=reason,
        alpha_null=alpha_null(weight.out_features, weight.in_features, k),
        n_eigs=weight.n_eigs,
        threshold=options.threshold,
    )


def _count(row: Row, damage: Damage) -> Row:
    return replace(row, overflow=damage.overflow, underflow=damage.underflow)
