"""A model of a scan: workers that take matrices in an order, help with long ones, and slow each other down.

A matrix is phases, one after the other: products, solves, passes over its entries. A phase of a long matrix may be
parts that any worker takes when it becomes free, before it takes another matrix; else it is one worker's. While c
workers are busy each phase takes `slowdown(c)` times as long as alone. A phase that is at work when c changes goes on
at the new rate. What is left out: reading from a slow disk, the journal, and the thread that writes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Slowdown = Callable[[int], float]  # busy workers -> time of a phase / its time alone
KINDS = ("passes", "products", "solve")


@dataclass(frozen=True)
class Phase:
    """Work of one kind on one matrix.

    Attributes:
        kind: one of `KINDS`.
        seconds: for one worker alone.
        parts: that workers can share.
    """

    kind: str
    seconds: float
    parts: int = 1


@dataclass(frozen=True)
class Job:
    """What one matrix takes, in its order."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """All of it, for one worker alone."""
        return sum(phase.seconds for phase in self.phases)


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
    """A matrix that a worker has taken, in one of its phases."""

    job: Job
    phase: int = 0
    waiting: int = 0  # parts that nobody has begun
    unfinished: int = 0  # parts that are not done
    owner_waits: bool = False  # the worker that has taken it has nothing to do until the last part is done


@dataclass
class _Part:
    """A part of a phase at work, and the seconds that it would still take alone."""

    matrix: _Matrix
    kind: str
    left: float
    owner: bool = True


def simulate(jobs: Sequence[Job], workers: int, slowdown: dict[str, Slowdown]) -> Course:
    """Return the course of a scan that takes the jobs in their order.

    Args:
        jobs: in the order in which they are taken.
        workers: at work side by side.
        slowdown: of each kind of phase.
    """
    course, now, todo = Course(workers), 0.0, list(reversed(jobs))
    active, long, waiting = list[_Part](), list[_Matrix](), 0

    def begin(matrix: _Matrix) -> _Part:
        """Return the first part of the phase that a matrix is in."""
        matrix.waiting = matrix.unfinished = matrix.job.phases[matrix.phase].parts
        if matrix.waiting > 1:
            long.append(matrix)
        return part_of(matrix, owner=True)

    def part_of(matrix: _Matrix, *, owner: bool) -> _Part:
        matrix.waiting -= 1
        if not matrix.waiting and matrix in long:
            long.remove(matrix)
        phase = matrix.job.phases[matrix.phase]
        return _Part(matrix, phase.kind, phase.seconds / phase.parts, owner)

    def after(part: _Part) -> _Part | None:
        """Return what the worker of a part does next for the same matrix."""
        nonlocal waiting
        matrix = part.matrix
        matrix.unfinished -= 1
        if not matrix.unfinished:
            waiting -= matrix.owner_waits
            matrix.owner_waits = False
            matrix.phase += 1
            if matrix.phase == len(matrix.job.phases):
                course.ends.append(now)
                return None
            return begin(matrix)  # by the owner, while a helper is free
        if matrix.waiting and part.owner:
            return part_of(matrix, owner=True)
        if part.owner:
            matrix.owner_waits, waiting = True, waiting + 1
        return None

    while True:
        while len(active) + waiting < workers and (long or todo):
            active.append(part_of(long[0], owner=False) if long else begin(_Matrix(todo.pop())))
        if not active:
            return course
        rates = {kind: 1 / slowdown[kind](len(active)) for kind in KINDS}
        step = min(part.left / rates[part.kind] for part in active)
        now += step
        course.busy += step * len(active)
        for part in active:
            part.left -= step * rates[part.kind]
        done = [part for part in active if part.left <= 1e-12]
        active = [part for part in active if part.left > 1e-12]
        active += [following for part in done if (following := after(part)) is not None]
