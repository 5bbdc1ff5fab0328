"""What is proved of a weight from eigenvectors, of the stored matrix or of an earlier state."""

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace

from torch import Tensor

from alpha_callbacks.analysis.certificate_costs import Plan, Sides, plan_proofs, predicted_bound, sides_of
from alpha_callbacks.analysis.certified import Certified, certified
from alpha_callbacks.analysis.earlier_states import Layer, Reference
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.errors import SourceError
from alpha_callbacks.estimators.all_estimators import ESTIMATORS
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers.spectrum import Spectrum, vectors_possible
from alpha_callbacks.solvers.top_space import TopSpace
from alpha_callbacks.utils.lazy import lazy_property

# ||W - Q(W)||_F / ||W||_F of what is proved from vectors: beyond, no proof was ever seen, and below, the bound of
# `perturbation` does without vectors: fp16 of bf16 weights, say, which moves only the smallest.
_SMALLEST_CHANGE, _LARGEST_CHANGE = 1e-6, 0.02
_LARGEST_EXPONENT = 150  # |log2 max|w||: a proof multiplies four entries; fp64 weights alone can be beyond it
# Of two states: no vectors are made for later ones beyond this multiple of the root of the tolerance, since the bound
# grows with the square of the drift.
_LARGEST_DRIFT = 1.5
_CLOSER = 0.9  # of a drift that was found to be too large: from there on vectors are made again


@dataclass(frozen=True)
class Proofs:
    """The proofs of one matrix: planned when the stored matrix is decomposed, made when their row is.

    Attributes:
        matrix: the weight.
        allowed: False where each precision is to be decomposed.
        layer: earlier states of it; None where there are none to be compared with.
    """

    matrix: Matrix
    allowed: bool
    layer: Layer | None = None
    _plans: list[Plan] = field(default_factory=list)
    _used: list[Reference] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """True if eigenvectors of the stored matrix may be of use."""
        return bool(self._changes) or self._drift is not None

    def plan(self, evals: Tensor) -> int:
        """Choose the precisions that are proved, and return how many eigenvectors that takes."""
        plan = plan_proofs(
            evals.clamp(min=0),
            self._sides,
            self._changes,
            self._leading,
            self.matrix.options.reuse_tol,
            self._alpha_range,
            self._drift,
        )
        self._plans.append(plan)
        if self.layer is not None and self._drift is not None:
            self.layer.too_far = math.inf if plan.states else _CLOSER * self._drift
        return plan.columns

    def planned(self, precision: Precision) -> bool:
        """Return True if the precision was chosen, so that the stored matrix is decomposed."""
        return any(precision.name in plan.precisions for plan in self._plans)

    def prove(self, precision: Precision | None, top: TopSpace) -> Certified | None:
        """Return alpha after a round trip (None: as stored) from eigenvectors; None where it is not proved."""
        matrix = self.matrix
        found = certified(
            matrix.weight,
            precision,
            largest=matrix.sizes.largest,
            top=top,
            estimator=matrix.estimator,
            stored=matrix.after(precision),
            base=next((reference.rows for reference in self._used if top is reference.top), None),
        )
        return found if found and found.bound <= matrix.options.reuse_tol * found.fit.alpha else None

    def from_earlier(self) -> Certified | None:
        """Return alpha of the stored matrix from the vectors of an earlier state; None where they prove too little.

        Its bound is that of all rows that share it: `accuracy` of the spectrum.
        """
        if self.layer is None or (reference := self.layer.reference) is None or not self._provable:
            return None
        try:
            if self._expected(reference, self.layer.since_reference()) > self.matrix.options.reuse_tol:
                return None
            self._used.append(reference)
            found = self.prove(None, reference.top)
        except SourceError:
            raise
        except Exception:  # a decomposition may do better, and the row of a precision that fails will say so
            found = None
        self.layer.judge(proved=found is not None)
        if found is None:
            return None
        self._plans.append(Plan(reference.top.vectors.shape[1], reference.precisions))
        accuracy = found.bound / found.fit.alpha * (1 + 1e-12)
        return replace(found, spectrum=replace(found.spectrum, accuracy=accuracy, top=reference.top))

    def keep(self, found: Spectrum) -> None:
        """Leave a decomposition of the stored matrix to later states, where the plan was made for such."""
        if self.layer is None:
            return
        self.layer.reference = None
        if found.top is None or not (plan := self._plans[-1]).states:
            return
        with suppress(RuntimeError):  # no memory: the decomposition is good without
            self.layer.keep(self.matrix.weight, self.matrix.sizes.largest, found.top, found.evals, plan.later)

    def _expected(self, reference: Reference, moved: float) -> float:
        """Return the bound to expect of the matrix and of the precisions that its vectors were kept for."""
        changes = (self.matrix.quantization_error(get_precision(name)).change for name in reference.precisions)
        return predicted_bound(
            reference.evals,
            self._sides,
            math.hypot(moved, max((change.frobenius for change in changes), default=0.0)),
            reference.top.vectors.shape[1],
            self._leading,
            self._alpha_range,
        )

    @property
    def _sides(self) -> Sides:
        return sides_of(self.matrix.weight)

    @lazy_property
    def _changes(self) -> dict[str, float]:
        """Of the precisions that a proof might be made for, name -> ||W - Q(W)||_F."""
        if not self._possible:
            return {}
        weight, found = self.matrix.weight, dict[str, float]()
        for precision in map(get_precision, self.matrix.options.precisions):
            if weight.in_features % precision.column_multiple == 0 and not precision.holds(weight.dtype):
                try:
                    error = self.matrix.quantization_error(precision)
                except SourceError:
                    raise
                except Exception:  # the row of this precision will say so, and the others go on
                    continue
                if not error.infinite and _SMALLEST_CHANGE < error.relative < _LARGEST_CHANGE:
                    found[precision.name] = error.change.frobenius
        return found if self._would_pay(len(found)) else {}

    @lazy_property
    def _drift(self) -> float | None:
        """About ||W - W'||_F to expect of the next state; None where no vectors are made for it."""
        layer = self.layer
        if layer is None or layer.drift is None or not self._provable:
            return None
        if layer.relative_drift > _LARGEST_DRIFT * math.sqrt(self.matrix.options.reuse_tol):
            return None
        if layer.drift > layer.too_far:  # the eigenvalues alone take less time
            return None
        return layer.drift

    @property
    def _possible(self) -> bool:
        return self._provable and self._would_pay(len(self.matrix.options.precisions))

    @property
    def _provable(self) -> bool:
        options, weight = self.matrix.options, self.matrix.weight
        whole = options.measures or any(name not in ESTIMATORS for name in options.estimators)  # of all eigenvalues
        if whole or weight.factors or not (self.allowed and options.reuse_tol and self._leading):
            return False
        if abs(math.frexp(self.matrix.sizes.largest)[1]) > _LARGEST_EXPONENT:  # what underflows would count as 0
            return False
        return options.solver == "exact" and vectors_possible(options.device) and self.matrix.is_held

    @property
    def _leading(self) -> int:
        return self.matrix.estimator.leading(self.matrix.weight.n_eigs)

    def _alpha_range(self, lower: Tensor, upper: Tensor) -> tuple[float, float]:
        return self.matrix.estimator.alpha_range(lower, upper, self.matrix.after(None))

    def _would_pay(self, precisions: int) -> bool:
        return self._sides.worth_trying(precisions, self._leading)
