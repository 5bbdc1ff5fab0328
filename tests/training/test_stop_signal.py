"""Training threads that are out of step stop at the same poll, whoever hears of it first."""

import threading
import time
from typing import Any

import pytest

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.training.stop_signal import StopSignal


class Together(Ranks):
    """Ranks that are threads."""

    def __init__(self, rank: int, room: dict[str, Any]) -> None:
        super().__init__(rank, room["size"])
        self._room = room

    def gather(self, value: Any) -> list[Any]:
        self._room["values"][self.rank] = value
        self._room["barrier"].wait(20)
        return [self._room["values"][rank] for rank in range(self.size)]


@pytest.mark.parametrize("paces", [(0.001, 0.001), (0.001, 0.004), (0.005, 0.0005), (0.0, 0.0, 0.003)])
def test_all_stop_at_the_same_poll(paces: tuple[float, ...]) -> None:
    size = len(paces)
    room = {"size": size, "values": {}, "barrier": threading.Barrier(size)}
    steps = threading.Barrier(size)  # the gradients: no rank is more than a step ahead
    signals, stopped = [StopSignal() for _ in paces], [0] * size

    def train(rank: int) -> None:
        for step in range(1, 1000):
            steps.wait(20)
            time.sleep(paces[rank])
            signals[rank].poll()
            if signals[rank].raised:
                stopped[rank] = step
                return

    def work(rank: int) -> None:
        time.sleep(0.02 + 0.01 * (rank % 2))  # the analyses end at different times
        signals[rank].raise_beside(Together(rank, room))

    threads = [threading.Thread(target=each, args=(rank,)) for rank in range(size) for each in (train, work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(stopped)) == 1 and stopped[0] > 1


def test_one_process_stops_at_the_next_poll_and_a_broken_exchange_at_none() -> None:
    signal = StopSignal()
    signal.poll()
    signal.raise_beside(Ranks())
    assert not signal.raised
    signal.poll()
    assert signal.raised

    class Broken(Ranks):
        def gather(self, value: Any) -> list[Any]:
            raise ConnectionError("gone")

    signal = StopSignal()
    with pytest.raises(ConnectionError):
        signal.raise_beside(Broken())
    signal.poll()
    assert not signal.raised
