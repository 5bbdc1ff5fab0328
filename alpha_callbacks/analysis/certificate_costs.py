"""Which precisions are worth a proof from the top vectors, and with how many of them: a model of costs and of bounds.

The unit of cost is a multiplication in an fp64 product. A solve takes `numel n` of them for the Gram matrix, 0.7 of
that where NumPy's BLAS forms it, and is as long as 2.7 n^3 of them for the eigenvalues (`parallel.predicted_cost`),
n^3 where NumPy's LAPACK finds them. With q vectors, on one core of Zen 3:

- the vectors cost 4 n^2 q, once, and what is proved of the rest 0.7 n^3; from n = 2048 on the reduction that leaves
  vectors is slower than the one that torch uses for values, by 0.8 n^3 at 4096. It waits for memory: of 16 side by side
  on 16 cores each took longer than the solves that it spared, so on more than a few cores none is made of that size;
- each further precision 4.1 numel q for W'V and W'^T(W'V), 60 q^3 for two eigenproblems of size q, 0.15 numel n for
  the norm of the change, 50 numel for passes over it, and what calls cost however small the matrix is.

What the proof will give is predicted for a change with independent entries: the square of the coupling of vector i with
the complement is then ||E||_F^2 / (m n) times ((n - q) lambda_i + the sum of the eigenvalues beyond q). Only time rests
on the prediction: what is printed is what was proved.

In training the vectors may serve later states too; each is taken to be as far from the one before as this one is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from alpha_callbacks.solvers.shortest_way import few_cores, products_by_numpy, values_by_numpy
from alpha_callbacks.weights.weight import Weight

_CALLS = 1.5e8  # a few milliseconds
_MANY = 2048  # eigenvalues from which on the reduction is slower
_CROWDED = 1024  # eigenvalues below which, on many cores, it takes up to three times as long as torch's solves
_LEAST = 0.1  # of a solve: what must be spared, since the model may err
_USUAL, _ROOM = 1.5, 1.4  # q / leading eigenvalues, and by how much the gain must exceed the price before q is known
_FACTORS = (1.02, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0)  # q / leading eigenvalues
_CAUTION = 1.2  # a bound comes out up to so much larger than predicted (real weights: 0.65 to 1.14)
_LATER, _MOST = 10, 2.0  # states that are planned for, and q / leading eigenvalues of what is kept for them
_LOOSE = 2.8  # bound of ||E||_2 / its value for independent entries

Range = Callable[[Tensor, Tensor], tuple[float, float]]  # bounds of the leading eigenvalues -> bounds of alpha


@dataclass(frozen=True)
class Sides:
    """A matrix as the solver sees it.

    Attributes:
        long: m, the longer side.
        short: n, the number of eigenvalues.
    """

    long: int
    short: int

    @property
    def full(self) -> float:
        """Cost of a solve."""
        n = self.short
        products = 0.7 if products_by_numpy(n) else 1.0
        return products * self.long * n**2 + (1.0 if values_by_numpy(n) else 2.7) * n**3

    def vectors(self, q: int) -> float:
        """Cost of q eigenvectors, and of the proof about the rest, beside a solve."""
        n = self.short
        slower = 0.8 * min(max(n / _MANY - 1, 0.0), 1.0)
        return 4.0 * n**2 * q + (0.7 + slower) * n**3

    def proof(self, q: int) -> float:
        """Cost of one further precision with q vectors."""
        return self.long * self.short * (4.1 * q + 0.15 * self.short + 50) + 60.0 * q**3 + _CALLS

    @property
    def waits(self) -> bool:
        """True where the reduction that leaves vectors waits for memory, so that none are made."""
        return self.short >= _MANY and not few_cores()

    def worth_trying(self, precisions: int, leading: int) -> bool:
        """Return True if proofs of so many precisions would spare more than the vectors cost, with room to fail."""
        if self.waits or (self.short < _CROWDED and not few_cores()):
            return False
        q = math.ceil(_USUAL * leading)
        return precisions * (self.full - self.proof(q)) > _ROOM * self.vectors(q)

    def cheaper(self, q: int) -> bool:
        """Return True if a proof with q vectors that are at hand costs less than a solve."""
        return self.full - self.proof(q) > _LEAST * self.full


def sides_of(weight: Weight) -> Sides:
    """Return the sides of a weight."""
    return Sides(max(weight.out_features, weight.in_features), weight.n_eigs)


def most_columns(leading: int, n: int) -> int:
    """Return how many vectors may be kept for later states."""
    return min(n, math.ceil(_MOST * leading) + 1)


def predicted_bound(evals: Tensor, sides: Sides, change: float, q: int, leading: int, alpha_range: Range) -> float:
    """Return what the proof is expected to say of |alpha - estimate| / alpha.

    Args:
        evals: shape (n,), float64, descending: of the stored matrix.
        sides: its shape.
        change: ||W - Q(W)||_F.
        q: vectors used.
        leading: eigenvalues that alpha is a function of.
        alpha_range: what bounds of these say of alpha.
    """
    m, n = sides.long, sides.short
    entry = change / math.sqrt(m * n)
    beyond = (math.sqrt(float(evals[q])) + _LOOSE * entry * (math.sqrt(m) + math.sqrt(n))) ** 2
    gap = float(evals[leading - 1]) - beyond
    if gap <= 0:
        return math.inf
    top = evals[:leading]
    raised = top + entry**2 * ((n - q) * top + float(evals[q:].sum())) / gap
    low, high = alpha_range(top, raised)
    return _CAUTION * (high - low) / low


@dataclass(frozen=True)
class Plan:
    """What is to be proved from how many vectors.

    Attributes:
        columns: vectors, 0 where nothing pays.
        precisions: names, of this state.
        states: later ones that are expected to be proved from the same vectors.
        later: names of the precisions that are proved in these.
    """

    columns: int = 0
    precisions: frozenset[str] = frozenset()
    states: int = 0
    later: frozenset[str] = frozenset()


def plan_proofs(
    evals: Tensor,
    sides: Sides,
    changes: Mapping[str, float],
    leading: int,
    tolerance: float,
    alpha_range: Range,
    drift: float | None = None,
) -> Plan:
    """Return the number of vectors that spares most per state, and the precisions that are cheaper so than by a solve.

    Args:
        evals: shape (n,), float64, descending: of the stored matrix.
        sides: its shape.
        changes: precision -> ||W - Q(W)||_F.
        leading: eigenvalues that alpha is a function of.
        tolerance: largest bound that is accepted, relative to alpha.
        alpha_range: what bounds of these say of alpha.
        drift: ||W - W'||_F that is expected between this state and the next; None: no later state counts.
    """
    best, plan = _LEAST * sides.full, Plan()
    for q in (math.ceil(factor * leading) + 1 for factor in _FACTORS):
        if q >= sides.short:
            break
        bounds = {
            name: predicted_bound(evals, sides, change, q, leading, alpha_range) for name, change in changes.items()
        }
        names = sorted((name for name, bound in bounds.items() if bound <= tolerance), key=changes.__getitem__)
        spared = sides.full - sides.proof(q)
        now = len(names) * spared - sides.vectors(q)
        if now > best:
            best, plan = now, Plan(q, frozenset(names))
        if drift is None or q > most_columns(leading, sides.short):
            continue
        alone = predicted_bound(evals, sides, drift, q, leading, alpha_range) if drift else 0.0
        reaches = [(drift, alone), *((changes[name], bounds[name]) for name in names)]
        for count, (change, bound) in enumerate(reaches):
            states = _states_within(tolerance, change, bound, apart=change if count else 0.0, drift=drift)
            gain = (now + states * (1 + count) * spared) / (1 + states)
            if states and gain > best:
                best, plan = gain, Plan(q, frozenset(names), states, frozenset(names[:count]))
    return plan


def _states_within(tolerance: float, change: float, bound: float, *, apart: float, drift: float) -> int:
    """Return how many steps of `drift` leave a matrix that is `apart` from its state within the tolerance.

    Args:
        tolerance: of the bound, which grows with the square of the change.
        change: a change that has the bound which follows.
        bound: see above.
        apart: ||W - Q(W)||_F.
        drift: of a state.
    """
    if bound > tolerance:
        return 0
    if not (bound and drift):
        return _LATER
    return min(_LATER, int(math.sqrt(max(0.0, change**2 * tolerance / bound - apart**2)) / drift))
