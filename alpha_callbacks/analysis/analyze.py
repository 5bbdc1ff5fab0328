"""One weight -> its rows. Pure: callbacks, scans and charts all rest on this function."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from alpha_callbacks.analysis.certificate_costs import Plan, Sides, plan_proofs
from alpha_callbacks.analysis.certified import Certified, certified
from alpha_callbacks.analysis.further import Further, look_further
from alpha_callbacks.analysis.quantization_error import (
    BlockMap,
    QuantizationError,
    Sizes,
    error_of,
    measure_quantization_error,
    measure_sizes,
    short_side_blocks,
    through,
)
from alpha_callbacks.errors import SourceError
from alpha_callbacks.estimators.all_estimators import ESTIMATORS
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.blocks import wide
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import dtype_of, get_precision
from alpha_callbacks.solvers.lanczos import spectral_norm
from alpha_callbacks.solvers.low_rank import product_spectrum
from alpha_callbacks.solvers.spectrum import Spectrum, spectrum, vectors_possible
from alpha_callbacks.tables.table import Method, Row, Status
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.layer_names import block_index
from alpha_callbacks.weights.weight import Weight

_LARGEST_EXPONENT = 400  # |log2 max|w||; fp64 weights alone can be beyond it

# ||W - Q(W)||_F / ||W||_F of what is proved from vectors: beyond, no proof was ever seen, and below, the bound of
# `perturbation` does without vectors: fp16 of bf16 weights, say, which moves only the smallest.
_SMALLEST_CHANGE, _LARGEST_CHANGE = 1e-6, 0.02

_REASONS: dict[Status, str] = {
    "degenerate": "all eigenvalues of the tail are equal to within the stored digits, or over 100 times closer "
    "together than those of noise",
    "rank_deficient": "the threshold eigenvalue is zero to within the stored digits",
}


@dataclass(frozen=True)
class Analysis:
    """The results for one weight.

    Attributes:
        rows: one per precision.
        spectra: precision -> eigenvalues, shape (n,), float64, descending; precisions that share a decomposition share
            the tensor. Precisions without one are left out.
    """

    rows: tuple[Row, ...]
    spectra: Mapping[str, Tensor] = field(default_factory=dict)


def analyze_weight(weight: Weight, options: AnalysisOptions) -> tuple[Row, ...]:
    """Return one row per precision, in the order asked.

    The stored matrix is decomposed at most once, and shared with every precision that returns the same bits or moves
    alpha by less than `options.reuse_tol` of itself (proved, see `perturbation`). Where its eigenvectors prove alpha
    of a further precision to that tolerance, and cost less than a decomposition, they do (`certified`). A layer that
    cannot be analysed yields rows with a status and a reason.
    """
    return _guarded(weight, options, prove=True).rows


def analyze_with_spectra(weight: Weight, options: AnalysisOptions) -> Analysis:
    """Return rows and the eigenvalues that they were made from, which no proof has: every precision is decomposed.

    But for those that share the decomposition of the stored matrix.

    Raises:
        SourceError: the weights can be read no further; a row would say of this layer what is true of none.
    """
    return _guarded(weight, options, prove=False)


def _guarded(weight: Weight, options: AnalysisOptions, *, prove: bool) -> Analysis:
    try:
        return _analyze(weight, options, prove=prove)
    except SourceError:
        raise
    except Exception as error:  # the other layers go on; the row keeps what happened
        return _nothing(weight, options, "failed", f"{type(error).__name__}: {error}")


def _analyze(weight: Weight, options: AnalysisOptions, *, prove: bool) -> Analysis:
    if weight.unsupported:
        return _nothing(weight, options, "unsupported", weight.unsupported)
    if weight.n_eigs < 2:
        return _nothing(weight, options, "too_small", "fewer than 2 eigenvalues, so no tail and threshold")
    weight = weight.on(options.device)
    if options.load_dtype is not None:
        weight = weight.cast(dtype_of(options.load_dtype))
    weight = weight.held()
    sizes = measure_sizes(weight)
    if not math.isfinite(sizes.largest):
        return _nothing(weight, options, "non_finite", "the stored weight holds nan or inf")
    if sizes.largest and abs(math.log2(sizes.largest)) > _LARGEST_EXPONENT:
        reason = f"entries of size {sizes.largest:.1g}, whose squares leave the range of fp64. Rescale the weight"
        return _nothing(weight, options, "failed", reason)
    if sizes.largest == 0 and weight.is_update:
        reason = "unchanged from the base: every entry of the update is zero"
        rows = rows_without_alpha(weight, options, "unchanged", reason)
        return Analysis(tuple(replace(row, relative_size=0.0) for row in rows))
    if sizes.largest == 0:
        return _nothing(weight, options, "degenerate", "every weight is zero")
    matrix = _Matrix(weight, sizes, options, prove)
    answers = [_answer(matrix, get_precision(name)) for name in options.precisions]
    spectra = {a.row.precision: a.solved.spectrum.evals for a in answers if a.solved is not None}
    return Analysis(tuple(answer.row for answer in answers), spectra)


@dataclass(frozen=True)
class _Solved:
    """A decomposition with its fit, ready to be reported under several precisions. It holds no link to its matrix."""

    spectrum: Spectrum
    fit: TailFit
    stored: StoredMatrix
    further: Further


@dataclass(frozen=True)
class _Answer:
    """The row of one precision, and the decomposition that it came from."""

    row: Row
    solved: _Solved | None = None


def _answer(matrix: "_Matrix", precision: Precision) -> _Answer:
    """Return the answer for one precision; an error does not stop the other precisions."""
    try:
        return _measured(matrix, precision)
    except SourceError:
        raise
    except Exception as error:
        return _Answer(matrix.blank(precision.name, "failed", f"{type(error).__name__}: {error}"))


def _measured(matrix: "_Matrix", precision: Precision) -> _Answer:
    weight, options = matrix.weight, matrix.options
    if precision.holds(weight.dtype):
        return matrix.answer(matrix.stored, precision.name, method="lossless", bound=0.0)
    if weight.in_features % precision.column_multiple:
        reason = f"in_features {weight.in_features} is no multiple of the {precision.column_multiple} that a block has"
        return _Answer(matrix.blank(precision.name, "unsupported", reason))
    error = matrix.quantization_error(precision)
    if error.exact:
        return matrix.answer(matrix.stored, precision.name, method="lossless", bound=0.0)
    if error.infinite:
        reason = f"{error.infinite} of {weight.numel} weights overflow to inf in {precision.name}"
        return _with(error, _Answer(matrix.blank(precision.name, "non_finite", reason)))
    if matrix.beyond_rank and not precision.low_bit:  # what a cast adds beyond the rank is its own rounding
        return _with(error, matrix.answer(matrix.stored, precision.name, method="bounded", bound=math.nan))
    if matrix.knows_stored:
        bound = matrix.error_bound(error)
        if bound <= options.reuse_tol * matrix.stored.fit.alpha:
            return _with(error, matrix.answer(matrix.stored, precision.name, method="bounded", bound=bound))
    if (found := matrix.certify(precision)) is not None:
        return _with(error, matrix.proved(found, precision))
    solved = matrix.solve(precision)
    return _with(error, matrix.measured(solved, precision, method="computed", bound=math.nan))


@dataclass(frozen=True)
class _Matrix:
    """A finite weight that is not zero, and how to decompose it.

    What it keeps must not lead back to it: in a reference cycle the weight would outlive its layer until the cyclic
    collector runs.
    """

    weight: Weight
    sizes: Sizes
    options: AnalysisOptions
    prove: bool
    errors: dict[str, QuantizationError] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)

    @property
    def estimator(self) -> Estimator:
        """What the tail is fitted with."""
        return self.options.estimator

    @lazy_property
    def stored(self) -> _Solved:
        """The decomposition of the stored matrix, made when first needed, with eigenvectors where these pay."""
        return self.solve(None)

    def quantization_error(self, precision: Precision) -> QuantizationError:
        """Return what the precision does to the entries, measured once."""
        if precision.name not in self.errors:
            self.errors[precision.name] = measure_quantization_error(self.weight, precision, self.sizes.largest)
        return self.errors[precision.name]

    @property
    def knows_stored(self) -> bool:
        """True if the stored matrix is decomposed, or will be since a precision holds it."""
        asked = map(get_precision, self.options.precisions)
        known = self.weight.factors is not None or "stored" in self.__dict__
        return known or any(precision.holds(self.weight.dtype) for precision in asked)

    @lazy_property
    def beyond_rank(self) -> bool:
        """True for an update of so low a rank that the tail reaches beyond it, into eigenvalues that are zero."""
        return self.weight.factors is not None and self.stored.fit.status == "rank_deficient"

    @lazy_property
    def base_norm(self) -> float:
        """||W0||_F of the weight that an update changes; 0 for weights, and where it is not known."""
        return self.weight.base_norm() if self.weight.base_norm is not None else 0.0

    @lazy_property
    def norm(self) -> float:
        """||W||_2 of the stored matrix."""
        if self.knows_stored:
            return math.sqrt(float(self.stored.spectrum.evals[0]))
        return self._norm_of(lambda rows: wide(rows) / self.sizes.largest)

    def spectral_error(self, precision: Precision) -> float:
        """Return ||W - Q(W)||_2 / ||W||_2."""
        return self._norm_of(error_of(precision, self.sizes.largest)) / self.norm

    def _norm_of(self, change: BlockMap) -> float:
        blocks = short_side_blocks(self.weight, change)
        n, device = self.weight.n_eigs, self.options.device
        return self.sizes.largest * spectral_norm(blocks, n, rows=self.weight.numel // n, device=device)

    def error_bound(self, error: QuantizationError) -> float:
        """Return the proved bound on the change of alpha, from that of the stored matrix, that this error can make."""
        solved = self.stored
        return self.estimator.error_bound(solved.spectrum.evals, solved.fit, error.change, solved.stored)

    @lazy_property
    def changes(self) -> dict[str, float]:
        """Of the precisions that a proof might be made for, name -> ||W - Q(W)||_F."""
        options, leading = self.options, self.estimator.leading(self.weight.n_eigs)
        whole = options.measures or any(name not in ESTIMATORS for name in options.estimators)  # of all eigenvalues
        if whole or self.weight.factors or not (self.prove and options.reuse_tol and leading):
            return {}
        if not (options.solver == "exact" and vectors_possible(options.device) and self.knows_stored):
            return {}
        if not self._sides.worth_trying(len(options.precisions), leading):
            return {}
        found = {}
        for precision in map(get_precision, options.precisions):
            divides = self.weight.in_features % precision.column_multiple == 0
            if divides and not precision.holds(self.weight.dtype):
                try:
                    error = self.quantization_error(precision)
                except SourceError:
                    raise
                except Exception:  # the row of this precision will say so, and the others go on
                    continue
                if not error.infinite and _SMALLEST_CHANGE < error.relative < _LARGEST_CHANGE:
                    found[precision.name] = error.change.frobenius
        return found if self._sides.worth_trying(len(found), leading) else {}

    def certify(self, precision: Precision) -> Certified | None:
        """Return alpha after a round trip from the eigenvectors of the stored matrix; None where it is not proved."""
        if not any(precision.name in plan.precisions for plan in self.plans):
            return None
        if (top := self.stored.spectrum.top) is None:
            return None
        found = certified(
            self.weight,
            precision,
            largest=self.sizes.largest,
            top=top,
            estimator=self.estimator,
            stored=self._after(precision),
        )
        return found if found and found.bound <= self.options.reuse_tol * found.fit.alpha else None

    def _after(self, precision: Precision | None) -> StoredMatrix:
        """Return what an estimator may know of the weight after the round trip (None: as stored)."""
        eps = max(self.sizes.eps, (precision.eps or 0.0) if precision else 0.0)
        return StoredMatrix(self.weight.out_features, self.weight.in_features, eps, self.sizes.typical)

    @property
    def _sides(self) -> Sides:
        return Sides(max(self.weight.out_features, self.weight.in_features), self.weight.n_eigs)

    def _wanted(self, evals: Tensor) -> int:
        """Choose the precisions that are proved, and return how many eigenvectors that takes."""
        stored = self._after(None)
        plan = plan_proofs(
            evals.clamp(min=0),
            self._sides,
            self.changes,
            self.estimator.leading(len(evals)),
            self.options.reuse_tol,
            lambda lower, upper: self.estimator.alpha_range(lower, upper, stored),
        )
        self.plans.append(plan)
        return plan.columns

    def solve(self, precision: Precision | None) -> _Solved:
        """Decompose the weight after the round trip (None: as stored) and fit its tail."""
        weight, estimator, stored = self.weight, self.estimator, self._after(precision)
        if precision is None and weight.factors is not None:
            found = product_spectrum(*weight.factors())
            return self._solved(found, stored, None)
        found = spectrum(
            lambda: short_side_blocks(weight, through(precision, self.sizes.largest) if precision else None),
            weight.n_eigs,
            unresolved=lambda evals, squares, rounding: estimator.unresolved(evals, squares, stored, rounding),
            absmax=self.sizes.largest,
            solver=self.options.solver,
            device=self.options.device,
            wanted=self._wanted if precision is None and self.changes else None,
        )
        return self._solved(found, stored, precision)

    def _solved(self, found: Spectrum, stored: StoredMatrix, precision: Precision | None) -> _Solved:
        """Fit the tail of a decomposition, judge it, and add what else was asked for."""
        fit = self.estimator.fit(found.evals, found.frobenius_norm**2, stored)
        return self._judged(found, fit, stored, precision)

    def _judged(self, found: Spectrum, fit: TailFit, stored: StoredMatrix, precision: Precision | None) -> _Solved:
        further = look_further(self.weight, precision, stored, self.sizes.largest, found, fit, self.options)
        return _Solved(found, fit, stored, further)

    def blank(self, precision: str, status: Status, reason: str) -> Row:
        """Return a row without alpha."""
        return _blank(self.weight, self.options, precision, status, reason)

    def proved(self, found: Certified, precision: Precision) -> _Answer:
        """Return the row of a precision whose alpha is proved; its eigenvalues are not those of a decomposition."""
        solved = self._judged(found.spectrum, found.fit, self._after(precision), precision)
        answer = self.measured(solved, precision, method="certified", bound=found.bound)
        return replace(answer, solved=None)

    def measured(self, solved: _Solved, precision: Precision, *, method: Method, bound: float) -> _Answer:
        """Return the row of a precision that changed the weight; below 16 bits with the spectral norm of the change."""
        answer = self.answer(solved, precision.name, method=method, bound=bound)
        if not precision.low_bit:
            return answer
        return replace(answer, row=replace(answer.row, spectral_error=self.spectral_error(precision)))

    def answer(self, solved: _Solved, precision: str, *, method: Method, bound: float) -> _Answer:
        """Return the row of one precision from a decomposition."""
        fit, found = solved.fit, solved.spectrum
        if found.accuracy:  # of a lossless value too: the same bits as the stored matrix, whose alpha may be off
            bound = (0.0 if math.isnan(bound) else bound) + found.accuracy * fit.alpha
        reason = _REASONS.get(fit.status, "")
        if self.beyond_rank:
            reason = _beyond_rank(int(torch.count_nonzero(self.stored.spectrum.evals)), fit.k)
        row = replace(
            self.blank(precision, fit.status, reason),
            alpha=fit.alpha,
            alpha_error_bound=bound if fit.status == "ok" else math.nan,
            k_used=fit.k,
            method=method,
            solver=found.solver,
            x_min=fit.x_min,
            stderr=fit.stderr,
            ks_distance=fit.ks_distance,
            spectral_norm=math.sqrt(float(found.evals[0])),
            frobenius_norm=found.frobenius_norm,
            relative_size=found.frobenius_norm / self.base_norm if self.base_norm else math.nan,
            relative_error=0.0 if method == "lossless" else math.nan,
            spectral_error=0.0 if method == "lossless" else math.nan,
            tail=solved.further.verdict.tail,
            tail_reason=solved.further.verdict.reason,
            estimates=solved.further.estimates,
            measures=solved.further.measures,
            measures_reason=solved.further.measures_reason,
        )
        return _Answer(row, solved)


def _beyond_rank(rank: int, k: int) -> str:
    """Return why the tail of a low-rank update has no alpha, and the options with which it has one."""
    found = f"an update of rank {rank}: the tail of {k} and its threshold reach beyond its non-zero eigenvalues"
    if rank < 3:
        return f"{found}, which are too few for a tail"
    return (
        f"{found}. With --k-min {rank - 1} --k-frac 1e-6 the tail is within them"  # a share so small that k_min decides
    )


def _nothing(weight: Weight, options: AnalysisOptions, status: Status, reason: str) -> Analysis:
    return Analysis(rows_without_alpha(weight, options, status, reason))


def rows_without_alpha(weight: Weight, options: AnalysisOptions, status: Status, reason: str) -> tuple[Row, ...]:
    """Return the rows of a layer that has no alpha, with the reason."""
    return tuple(_blank(weight, options, name, status, reason) for name in options.precisions)


def _blank(weight: Weight, options: AnalysisOptions, precision: str, status: Status, reason: str) -> Row:
    return Row(
        layer_name=weight.layer_name,
        category=weight.category,
        block=block_index(weight.layer_name),
        out_features=weight.out_features,
        in_features=weight.in_features,
        stored_dtype=weight.stored_dtype,
        tied_to=weight.tied_to,
        modality=weight.modality,
        precision=precision,
        status=status,
        reason=reason,
        alpha_null=options.estimator.null(weight.out_features, weight.in_features),
        n_eigs=weight.n_eigs,
        threshold=options.threshold,
        effective_bits=get_precision(precision).effective_bits(weight.out_features, weight.in_features),
        source_name=weight.source_name,
    )


def _with(error: QuantizationError, answer: _Answer) -> _Answer:
    row = replace(answer.row, overflow=error.overflow, underflow=error.underflow, relative_error=error.relative)
    return replace(answer, row=row)
