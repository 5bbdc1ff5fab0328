"""The row of each precision: shared with the stored matrix, proved from its eigenvectors, or decomposed."""

import math
from dataclasses import dataclass, replace

import torch

from alpha_callbacks.analysis.blank_rows import REASONS, beyond_rank, blank_row
from alpha_callbacks.analysis.certified import Certified
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.analysis.proofs import Proofs
from alpha_callbacks.analysis.quantization_error import QuantizationError
from alpha_callbacks.analysis.solve import Solved, judged, solve
from alpha_callbacks.errors import SourceError
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.tables.table import Method, Row, Status
from alpha_callbacks.utils.lazy import lazy_property

_PRINTED = 1e-11  # of alpha: what twelve digits may lose, so that a bound holds for alpha as it is printed


@dataclass(frozen=True)
class Answer:
    """What is said of one precision.

    Attributes:
        row: its row.
        solved: the decomposition that the row came from, if any.
    """

    row: Row
    solved: Solved | None = None


@dataclass(frozen=True)
class Answers:
    """The answers of one matrix. What they share is kept.

    Attributes:
        matrix: the weight.
        proofs: of its precisions.
    """

    matrix: Matrix
    proofs: Proofs

    def of(self, precision: Precision) -> Answer:
        """Return the answer for one precision; an error does not stop the other precisions."""
        try:
            return self._measured(precision)
        except SourceError:
            raise
        except Exception as error:
            return self._without_alpha(precision, "failed", f"{type(error).__name__}: {error}")

    def _measured(self, precision: Precision) -> Answer:
        weight, options = self.matrix.weight, self.matrix.options
        if precision.holds(weight.dtype):
            return self._answer(self._stored, precision, method="lossless", bound=0.0)
        if weight.in_features % precision.column_multiple:
            block = precision.column_multiple
            reason = f"in_features {weight.in_features} is no multiple of the {block} that a block has"
            return self._without_alpha(precision, "unsupported", reason)
        error = self.matrix.quantization_error(precision)
        if error.exact:
            return self._answer(self._stored, precision, method="lossless", bound=0.0)
        if error.infinite:
            reason = f"{error.infinite} of {weight.numel} weights overflow to inf in {precision.name}"
            return _with(error, self._without_alpha(precision, "non_finite", reason))
        if self._beyond_rank and not precision.low_bit:  # what a cast adds beyond the rank is its own rounding
            return _with(error, self._answer(self._stored, precision, method="bounded", bound=math.nan))
        if self._knows_stored:
            bound = self._error_bound(error)
            if bound <= options.reuse_tol * self._stored.fit.alpha:
                return _with(error, self._answer(self._stored, precision, method="bounded", bound=bound))
        return _with(error, self._proved(precision) or self._decomposed(precision))

    @lazy_property
    def _stored(self) -> Solved:
        """What the stored matrix has shown, when first needed: proved from an earlier state, or decomposed.

        With eigenvectors where these pay.
        """
        if (earlier := self._earlier) is not None:
            return judged(self.matrix, None, earlier.spectrum, earlier.fit)
        solved = solve(self.matrix, None, self.proofs.plan if self.proofs.wanted else None)
        self.proofs.keep(solved.spectrum)
        return solved

    @lazy_property
    def _earlier(self) -> Certified | None:
        """The proof of the stored matrix from an earlier state."""
        return self.proofs.from_earlier()

    @property
    def _knows_stored(self) -> bool:
        """True if the stored matrix is decomposed, or will be since a precision holds it."""
        return self.matrix.weight.factors is not None or "_stored" in self.__dict__ or self.matrix.is_held

    @lazy_property
    def _beyond_rank(self) -> bool:
        """True for an update of so low a rank that the tail reaches beyond it, into eigenvalues that are zero."""
        return self.matrix.weight.factors is not None and self._stored.fit.status == "rank_deficient"

    @lazy_property
    def _norm(self) -> float:
        """||W||_2 of the stored matrix."""
        return math.sqrt(float(self._stored.spectrum.evals[0])) if self._knows_stored else self.matrix.norm()

    def _error_bound(self, error: QuantizationError) -> float:
        """Return the proved bound on the change of alpha, from that of the stored matrix, that this error can make."""
        solved, earlier = self._stored, self._earlier
        found, fit = solved.spectrum, solved.fit
        # The bound falls with each eigenvalue and grows with alpha: this is that of the worst spectrum enclosed.
        if earlier is not None:
            lower, fit = earlier.lower, replace(fit, alpha=earlier.high)
        elif found.enclosure is not None:
            lower, fit = found.enclosure.lower, replace(fit, alpha=fit.alpha * (1 + found.accuracy))
        else:
            lower = found.evals
        return self.matrix.estimator.error_bound(lower, fit, error.change, solved.stored)

    def _proved(self, precision: Precision) -> Answer | None:
        """Return the answer without a decomposition of its own; None where nothing could be proved."""
        if not self.proofs.planned(precision) or (top := self._stored.spectrum.top) is None:
            return None
        if (found := self.proofs.prove(precision, top)) is None:
            return None
        solved = judged(self.matrix, precision, found.spectrum, found.fit)
        answer = self._changed(solved, precision, method="certified", bound=found.bound)
        return replace(answer, solved=None)  # its eigenvalues are not those of a decomposition

    def _decomposed(self, precision: Precision) -> Answer:
        return self._changed(solve(self.matrix, precision), precision, method="computed", bound=math.nan)

    def _changed(self, solved: Solved, precision: Precision, *, method: Method, bound: float) -> Answer:
        """Return the answer for a precision that changed the weight; below 16 bits with the norm of the change."""
        answer = self._answer(solved, precision, method=method, bound=bound)
        if not precision.low_bit:
            return answer
        error = self.matrix.error_norm(precision) / self._norm
        return replace(answer, row=replace(answer.row, spectral_error=error))

    def _answer(self, solved: Solved, precision: Precision, *, method: Method, bound: float) -> Answer:
        """Return the answer for one precision from a decomposition."""
        matrix, fit, found, further = self.matrix, solved.fit, solved.spectrum, solved.further
        if found.accuracy:  # of a lossless value too: the same bits as the stored matrix, whose alpha may be off
            bound = (0.0 if math.isnan(bound) else bound) + found.accuracy * fit.alpha
        if bound > 0:
            bound += _PRINTED * fit.alpha
        reason = REASONS.get(fit.status, "")
        if self._beyond_rank:
            reason = beyond_rank(int(torch.count_nonzero(self._stored.spectrum.evals)), fit.k)
        row = replace(
            blank_row(matrix.weight, matrix.options, precision.name, fit.status, reason),
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
            relative_size=found.frobenius_norm / matrix.base_norm if matrix.base_norm else math.nan,
            relative_error=0.0 if method == "lossless" else math.nan,
            spectral_error=0.0 if method == "lossless" else math.nan,
            tail=further.verdict.tail,
            tail_reason=further.verdict.reason,
            estimates=further.estimates,
            measures=further.measures,
            measures_reason=further.measures_reason,
        )
        return Answer(row, solved)

    def _without_alpha(self, precision: Precision, status: Status, reason: str) -> Answer:
        return Answer(blank_row(self.matrix.weight, self.matrix.options, precision.name, status, reason))


def _with(error: QuantizationError, answer: Answer) -> Answer:
    row = replace(answer.row, overflow=error.overflow, underflow=error.underflow, relative_error=error.relative)
    return replace(answer, row=row)
