"""A model of a scan: workers that take matrices in an order, help with long ones, and slow each other down.

A matrix is three phases: passes over its entries, products, one solve. The passes and the solve are one worker's. The
products of a long matrix are parts that any worker takes when it becomes free, before it takes another matrix. While c
workers are busy each phase takes `slowdown(c)` times as long as alone. A phase that is at work when c changes goes on
at the new rate. What is left out: reading from a slow disk, the journal, and the thread that writes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Slowdown = Callable[[int], float]  # busy workers -> time of a phase / its time alone
KINDS = ("passes", "products", "solve")


@dataclass(frozen=True)
class Job:
    """What one matrix costs one worker alone.

    Attributes:
        passes: seconds for what is measured of the entries.
        products: seconds for the Gram matrix.
        solve: seconds for the eigenvalues.
        parts: of the products, that workers can share.
    """

    passes: float
    products: float
    solve: float
    parts: int = 1

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.passes + self.products + self.solve


@dataclass
class Course:
    """How a scan went.

    Attributes:
        ends: when each matrix was done, in seconds, ascending.
        busy: seconds in which workers were at work, all together.
        workers: their number.
    """

    workers: int
    busy: float = 0.0
    ends: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The whole scan."""
        return max(self.ends)

    @property
    def tail(self) -> float:
        """Seconds in which fewer matrices than workers were left."""
        return tail(self.ends, self.workers)

    @property
    def idle(self) -> float:
        """Share of the workers' time in which they had nothing to do."""
        return 1 - self.busy / (self.workers * self.seconds)


def tail(ends: Sequence[float], workers: int) -> float:
    """Return the seconds in which fewer matrices than workers were left.

    Examples:
        >>> tail([1, 2, 3, 7], workers=2)
        4
        >>> tail([5], workers=2)
        5
    """
    ordered = sorted(ends)
    return ordered[-1] - (ordered[-workers] if workers <= len(ordered) else 0)


@dataclass
class _Matrix:
    job: Job
    waiting: int = 0  # parts that nobody has begun
    unfinished: int = 0  # parts that are not done
    owner_waits: bool = False  # the worker that has taken it has nothing to do until the last part is done


@dataclass
class _Phase:
    """A phase of a matrix at work, and the seconds that it would still take alone."""

    matrix: _Matrix
    kind: str
    left: float
    owner: bool = True


def simulate(jobs: Sequence[Job], workers: int, slowdown: dict[str, Slowdown], *, shared: bool = True) -> Course:
    """Return the course of a scan that takes the jobs in their order.

    Args:
        jobs: in the order in which they are taken.
        workers: at work side by side.
        slowdown: of each kind of phase.
        shared: False: the parts of a matrix are all computed by the worker that has taken it.
    """
    course, now, todo = Course(workers), 0.0, list(reversed(jobs))
    active, long, waiting = list[_Phase](), list[_Matrix](), 0

    def part_of(matrix: _Matrix, *, owner: bool) -> _Phase:
        matrix.waiting -= 1
        if not matrix.waiting and matrix in long:
            long.remove(matrix)
        return _Phase(matrix, "products", matrix.job.products / max(matrix.job.parts if shared else 1, 1), owner)

    def after(phase: _Phase) -> _Phase | None:
        """Return what the worker of a phase does next for the same matrix."""
        nonlocal waiting
        matrix, job = phase.matrix, phase.matrix.job
        if phase.kind == "passes":
            matrix.waiting = matrix.unfinished = job.parts if shared else 1
            if matrix.waiting > 1:
                long.append(matrix)
            return part_of(matrix, owner=True)
        if phase.kind == "solve":
            course.ends.append(now)
            return None
        matrix.unfinished -= 1
        if not matrix.unfinished:
            waiting -= matrix.owner_waits
            return _Phase(matrix, "solve", job.solve)  # by the owner, while a helper is free
        if matrix.waiting and phase.owner:
            return part_of(matrix, owner=True)
        if phase.owner:
            matrix.owner_waits, waiting = True, waiting + 1
        return None

    while True:
        while len(active) + waiting < workers and (long or todo):
            active.append(
                part_of(long[0], owner=False) if long else _Phase(_Matrix(job := todo.pop()), "passes", job.passes)
            )
        if not active:
            return course
        rates = {kind: 1 / slowdown[kind](len(active)) for kind in KINDS}
        step = min(phase.left / rates[phase.kind] for phase in active)
        now += step
        course.busy += step * len(active)
        for phase in active:
            phase.left -= step * rates[phase.kind]
        done = [phase for phase in active if phase.left <= 1e-12]
        active = [phase for phase in active if phase.left > 1e-12]
        active += [following for phase in done if (following := after(phase)) is not None]
