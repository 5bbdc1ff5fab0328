"""Which precisions of a weight are proved from the eigenvectors of the stored matrix, and their proofs."""

from dataclasses import dataclass, field

from torch import Tensor

from alpha_callbacks.analysis.certificate_costs import Plan, Sides, plan_proofs
from alpha_callbacks.analysis.certified import Certified, certified
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.errors import SourceError
from alpha_callbacks.estimators.all_estimators import ESTIMATORS
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers.spectrum import vectors_possible
from alpha_callbacks.solvers.top_space import TopSpace
from alpha_callbacks.utils.lazy import lazy_property

# ||W - Q(W)||_F / ||W||_F of what is proved from vectors: beyond, no proof was ever seen, and below, the bound of
# `perturbation` does without vectors: fp16 of bf16 weights, say, which moves only the smallest.
_SMALLEST_CHANGE, _LARGEST_CHANGE = 1e-6, 0.02


@dataclass(frozen=True)
class Proofs:
    """The proofs of one matrix: planned when the stored matrix is decomposed, made when their row is.

    Attributes:
        matrix: the weight.
        allowed: False where each precision is to be decomposed.
    """

    matrix: Matrix
    allowed: bool
    _plans: list[Plan] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """True if eigenvectors of the stored matrix may be of use."""
        return bool(self._changes)

    def plan(self, evals: Tensor) -> int:
        """Choose the precisions that are proved, and return how many eigenvectors that takes."""
        matrix, estimator, stored = self.matrix, self.matrix.estimator, self.matrix.after(None)
        plan = plan_proofs(
            evals.clamp(min=0),
            self._sides,
            self._changes,
            estimator.leading(len(evals)),
            matrix.options.reuse_tol,
            lambda lower, upper: estimator.alpha_range(lower, upper, stored),
        )
        self._plans.append(plan)
        return plan.columns

    def planned(self, precision: Precision) -> bool:
        """Return True if the precision was chosen, so that the stored matrix is decomposed."""
        return any(precision.name in plan.precisions for plan in self._plans)

    def prove(self, precision: Precision, top: TopSpace) -> Certified | None:
        """Return alpha after a round trip from the eigenvectors of the stored matrix; None where it is not proved."""
        matrix = self.matrix
        found = certified(
            matrix.weight,
            precision,
            largest=matrix.sizes.largest,
            top=top,
            estimator=matrix.estimator,
            stored=matrix.after(precision),
        )
        return found if found and found.bound <= matrix.options.reuse_tol * found.fit.alpha else None

    @property
    def _sides(self) -> Sides:
        weight = self.matrix.weight
        return Sides(max(weight.out_features, weight.in_features), weight.n_eigs)

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

    @property
    def _possible(self) -> bool:
        options, weight = self.matrix.options, self.matrix.weight
        whole = options.measures or any(name not in ESTIMATORS for name in options.estimators)  # of all eigenvalues
        if whole or weight.factors or not (self.allowed and options.reuse_tol):
            return False
        if not (options.solver == "exact" and vectors_possible(options.device) and self.matrix.is_held):
            return False
        return self._would_pay(len(options.precisions))

    def _would_pay(self, precisions: int) -> bool:
        leading = self.matrix.estimator.leading(self.matrix.weight.n_eigs)
        return bool(leading) and self._sides.worth_trying(precisions, leading)
