"""Ranks in one process; with several ones: tests/distributed."""

import pytest
import torch.distributed as dist

from alpha_callbacks.analysis.processes import Ranks, ScanShare, share, training_ranks
from alpha_callbacks.errors import OptionError, PeerError
from tests.conftest import noise, weight_of


def test_one_process_needs_no_group() -> None:
    ranks = training_ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.gather("a") == ["a"] and ranks.from_first("a") == "a"
    assert ranks.agree(lambda: print) == [print], "nothing is sent, so nothing need be picklable"
    with pytest.raises(ZeroDivisionError):
        ranks.agree(lambda: 1 / 0)


def test_layers_are_divided_by_cost_and_each_is_taken_once() -> None:
    weights = [weight_of(noise(n, n), str(n)) for n in (64, 8, 48, 16, 40)]
    parts = [share(weights, index, 2) for index in range(2)]
    assert sorted(w.layer_name for part in parts for w in part) == sorted(w.layer_name for w in weights)
    assert [w.layer_name for w in parts[0]][0] == "64" and [w.layer_name for w in parts[1]][0] == "48"
    assert share(weights[:1], 1, 2) == []


def test_a_rank_that_has_left_expects_no_answers() -> None:
    ranks = Ranks(0, 2)
    ranks.leave()
    ranks.leave()
    with pytest.raises(PeerError, match="rank 0: this rank has left"):
        ranks.gather(1)


class Peer(Ranks):
    """Rank 0 of 2, whose peer answers with what it was told to."""

    def __init__(self, answer: object) -> None:
        super().__init__(0, 2)
        self.answer = answer

    def gather(self, value: object) -> list[object]:
        self.sent = value
        return [value, self.answer]


def test_failure_of_the_other_is_told() -> None:
    with pytest.raises(PeerError, match="rank 1: ValueError: odd"):
        Peer((b"", "ValueError: odd")).agree(lambda: 1)


def test_own_failure_is_sent_before_it_is_raised() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail() -> None:
        raise Mute

    peer = Peer((b"", None))
    with pytest.raises(Mute):
        peer.agree(fail)
    assert peer.sent == (b"", "Mute")


def test_result_that_cannot_be_sent_is_a_failure_like_others() -> None:
    peer = Peer((b"", None))
    with pytest.raises(AttributeError, match="lambda"):
        peer.agree(lambda: lambda: 0)
    assert "lambda" in str(peer.sent)


def test_lost_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(values: object, value: object, group: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_gather_object", broken)
    with pytest.raises(PeerError, match="the connection to one is lost.*closed by peer"):
        Ranks(0, 2).gather(1)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/"])
def test_bad_shards(text: str) -> None:
    with pytest.raises(OptionError, match="expected i/n"):
        ScanShare.parse(text)


def test_shard() -> None:
    assert ScanShare.parse("2/8") == ScanShare(2, 8)
