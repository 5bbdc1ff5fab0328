"""The model of `benchmarks.cores`: courses that can be told without it."""

import pytest

from benchmarks.scan_model import KINDS, Job, Phase, simulate

ALONE = dict.fromkeys(KINDS, lambda busy: 1.0)


def job(passes: float, products: float, solve: float, parts: int = 1) -> Job:
    return Job((Phase("passes", passes), Phase("products", products, parts), Phase("solve", solve)))


@pytest.mark.parametrize(("workers", "seconds", "idle"), [(1, 24, 0), (2, 12, 0), (4, 8, 0.25), (8, 4, 0.25)])
def test_equal_jobs(workers: int, seconds: float, idle: float) -> None:
    course = simulate(6 * [job(1, 2, 1)], workers, ALONE)
    assert (course.seconds, course.idle) == pytest.approx((seconds, idle)) and len(course.ends) == 6


def test_workers_slow_each_other_down_while_they_are_at_work() -> None:
    slow = {**ALONE, "solve": lambda busy: float(busy)}
    assert simulate([job(0, 0, 3), job(0, 0, 1)], 2, slow).ends == pytest.approx([2, 4])  # 1 s at half the rate


def test_a_long_matrix_is_shared_by_those_who_become_free() -> None:
    own, shared = (simulate([job(0, 8, 1, parts), *3 * [job(0, 2, 0)]], 4, ALONE) for parts in (1, 8))
    assert (own.seconds, own.tail) == pytest.approx((9, 7))
    assert shared.seconds == pytest.approx(2 + 2 + 1)  # two parts alone, six by four workers in two turns, the solve
    assert shared.busy == own.busy == pytest.approx(15)


def test_its_owner_waits_for_the_last_part() -> None:
    course = simulate([job(0, 3, 1, parts=3), job(0, 0, 5)], 2, {**ALONE, "products": lambda busy: 1.0})
    assert course.ends == pytest.approx([4, 5])
    course = simulate([job(0, 4, 1, parts=2), job(0, 0.5, 0)], 2, ALONE)
    assert course.ends == pytest.approx([0.5, 3.5])  # the other's part ends at 2.5


def test_a_file_of_small_ones_keeps_all_busy() -> None:
    course = simulate(1000 * [job(0.01, 0.02, 0.01)], 16, ALONE)
    assert course.seconds == pytest.approx(40 / 16, rel=0.02) and course.tail <= 0.05


def test_one_phase_after_the_other_is_shared() -> None:
    phases = Phase("products", 4, 4), Phase("solve", 1), Phase("passes", 8, 16), Phase("products", 4, 2)
    assert simulate([Job(phases)], 4, ALONE).ends == pytest.approx([1 + 1 + 2 + 2])
    assert simulate([Job(phases)], 1, ALONE).ends == pytest.approx([17])
