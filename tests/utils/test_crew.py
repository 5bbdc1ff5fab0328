"""Parts of a task, computed by whoever is free."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from alpha_callbacks.utils.crew import Crew, in_order

WAIT = 20.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    executor: ThreadPoolExecutor

    def begin() -> None:
        Crew(executor, 3).enter()

    executor = ThreadPoolExecutor(3, initializer=begin)
    yield executor
    executor.shutdown(cancel_futures=True)


def test_without_a_crew_parts_are_computed_one_by_one() -> None:
    begun: list[int] = []

    def part(index: int) -> int:
        begun.append(index)
        return index

    results = in_order([partial(part, i) for i in range(4)])
    assert next(results) == 0 and begun == [0]
    assert list(results) == [1, 2, 3]


def test_threads_that_are_idle_help_and_the_order_is_kept(pool: ThreadPoolExecutor) -> None:
    together, threads = threading.Barrier(3, timeout=WAIT), set[int]()

    def part(index: int) -> int:
        together.wait()  # three at a time, or never
        threads.add(threading.get_ident())
        return index

    found = pool.submit(lambda: list(in_order([partial(part, i) for i in range(6)])))
    assert found.result(WAIT) == list(range(6)) and len(threads) == 3


def test_a_busy_crew_does_not_hold_up_the_one_that_calls(pool: ThreadPoolExecutor) -> None:
    busy = threading.Event()
    others = [pool.submit(busy.wait, WAIT) for _ in range(2)]
    found = pool.submit(lambda: list(in_order([partial(int, i) for i in range(5)])))
    assert found.result(WAIT) == list(range(5))
    busy.set()
    assert all(other.result(WAIT) for other in others)


def test_an_error_is_raised_in_its_turn_and_ends_the_rest(pool: ThreadPoolExecutor) -> None:
    begun: list[int] = []

    def part(index: int) -> int:
        begun.append(index)
        if index == 1:
            raise ValueError("part 1")
        return index

    seen: list[int] = []

    def own() -> None:
        for result in in_order([partial(part, i) for i in range(1000)]):
            seen.append(result)

    with pytest.raises(ValueError, match="part 1"):
        pool.submit(own).result(WAIT)
    assert seen == [0]
    count = len(begun)
    pool.shutdown(wait=True)
    assert len(begun) <= count + 2  # those that others had begun


def test_a_pool_that_is_shut_down_leaves_the_work_to_the_one_that_calls(pool: ThreadPoolExecutor) -> None:
    down = threading.Event()

    def own() -> list[int]:
        down.wait(WAIT)
        return list(in_order([partial(int, i) for i in range(5)]))

    found = pool.submit(own)
    pool.shutdown(wait=False)
    down.set()
    assert found.result(WAIT) == list(range(5))
