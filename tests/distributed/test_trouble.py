"""What goes wrong on one rank is known to all, and nobody waits for one that does not come."""

from pathlib import Path
from typing import Any

import pytest

from tests.distributed.launch import launch

Reports = list[dict[str, Any]]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return launch("trouble_worker.py", tmp_path_factory.mktemp("trouble"), "survived")


def test_error_in_one_layer_is_a_failed_row(reports: Reports) -> None:
    for told in (report["in_one_layer"] for report in reports):
        failed = [name for name, status in told["first"]["status"].items() if status == "failed"]
        assert 0 < len(failed) < 11
        assert told["second"]["reused"] == 11 - len(failed), "failed layers are tried again"
        assert "failed" not in told["second"]["status"].values()


def test_error_outside_the_layers_is_a_warning_on_all_ranks(reports: Reports) -> None:
    for rank, told in enumerate(report["outside_the_layers"] for report in reports):
        for attempt in (told["second"], told["third"]):
            assert attempt["status"] is None and attempt["seconds"] < 2
        assert "MemoryError: no more" in told["second"]["warnings"][0]
        assert told["second"]["warnings"][0].startswith("alpha-Hill: MemoryError" if rank else "alpha-Hill: PeerError")
        assert set(told["fourth"]["status"].values()) <= {"ok", "too_small"}
        assert told["fourth"]["reused"] == 0


def test_error_while_a_shard_is_gathered_is_a_failed_row(reports: Reports) -> None:
    for told in (report["in_the_copy_of_a_shard"] for report in reports):
        failed = [name for name, status in told["first"]["status"].items() if status == "failed"]
        assert 0 < len(failed) < 11
        assert told["second"]["reused"] == 11 - len(failed)
        assert "failed" not in told["second"]["status"].values()


def test_slow_rank_is_waited_for_beyond_the_timeout_of_the_default_group(reports: Reports) -> None:
    for report in reports:
        assert report["slow"]["status"] == {"first": "ok", "gate": "ok"}
        assert report["slow"]["seconds"] > 4
    assert "error" in reports[0]["default_group_gives_up"], "the control: there such a wait is an error"


def test_ranks_with_different_layers_are_an_error_on_all(reports: Reports) -> None:
    for report in reports:
        assert "PeerError: rank 1: expected the same layers as rank 0" in report["different_layers"]["error"]


def test_ranks_with_different_options_are_the_same_error_on_all(reports: Reports) -> None:
    first, second = (report["different_options"] for report in reports)
    for name, told in first.items():
        if name == "nothing":
            assert told["status"] == second[name]["status"] == {"first": "ok", "gate": "ok"}
        else:
            assert f"PeerError: rank 1: expected {name}=" in told["error"] and told["error"] == second[name]["error"]
            assert max(told["seconds"], second[name]["seconds"]) < 2, "at once"


def test_ranks_that_call_for_different_states_are_the_same_error_on_all(reports: Reports) -> None:
    for told in (report["different_calls"] for report in reports):
        assert "rank 1: expected step=1, as on rank 0, got 2. Attach the callback" in told["steps"]["warnings"][0]
        assert "rank 1: expected event='step', as on rank 0, got 'end'" in told["events"]["warnings"][0]
        assert told["steps"]["status"] is None and told["events"]["status"] is None
        assert told["first"]["status"] == told["after"]["status"] == {"first": "ok", "gate": "ok"}


def test_a_rank_with_a_state_more_is_told_and_not_kept_waiting(reports: Reports) -> None:
    more, fewer = (report["fewer_calls"]["told"] for report in reports)
    assert len(more) == 3 and len(fewer) == 2 and not any(attempt["warnings"] for attempt in [*more[:2], *fewer])
    assert "the connection to one is lost" in more[2]["warnings"][0] and "fewer states" in more[2]["warnings"][0]
    assert more[2]["status"] is None and more[2]["seconds"] < 3
    for report in reports:
        assert report["fewer_calls"]["again"]["status"] == {"first": "ok", "gate": "ok"}, "the next run is in order"


def test_the_last_state_of_a_busy_worker_is_analysed_on_all(reports: Reports) -> None:
    for rank, told in enumerate(report["last_state_of_a_busy_worker"] for report in reports):
        assert told == {"steps": [] if rank else [0, 2], "dropped": 1, "same": True}


def test_broken_sink(reports: Reports) -> None:
    for rank, told in enumerate(report["broken_sink"] for report in reports):
        assert [attempt["status"] for attempt in told["warned"]] == [{"first": "ok", "gate": "ok"}] * 2
        assert [len(attempt["warnings"]) for attempt in told["warned"]] == ([1, 0] if rank == 0 else [0, 0])
        assert all("MonitorError" in attempt["error"] and "disk full" in attempt["error"] for attempt in told["raised"])
        assert "disk full" in told["beside"][1]["error"] and told["beside"][1]["seconds"] < 5, "no rank goes on alone"


def test_result_that_cannot_be_sent_is_an_error_on_all(reports: Reports) -> None:
    assert "PeerError: rank 1: " in reports[0]["result_that_cannot_be_sent"]["error"]
    assert "lambda" in reports[1]["result_that_cannot_be_sent"]["error"]
    assert all(report["result_that_cannot_be_sent"]["seconds"] < 2 for report in reports)


def test_groups_under_a_default_group_that_is_bound_to_a_device(reports: Reports) -> None:
    for report in reports:
        assert report["bound_to_a_device"]["status"] == {"first": "ok", "gate": "ok"}


def test_rank_that_does_not_come_is_an_error_after_a_while(reports: Reports) -> None:
    for report in reports:  # rank 1 came too late, and is told so as well
        assert "PeerError" in report["absent"]["error"] and "on every rank" in report["absent"]["error"]
    assert reports[0]["absent"]["seconds"] < 3
    assert reports[1]["absent"]["seconds"] < 12, "gloo tries five times to reach one that has given up"


@pytest.mark.parametrize("victim", [0, 1])
def test_rank_that_dies_is_not_waited_for(tmp_path: Path, victim: int) -> None:
    codes = (3, 0) if victim == 0 else (0, 3)
    told = launch("trouble_worker.py", tmp_path, f"dies{victim}", codes=codes)[1 - victim]["dies"]
    assert told["second"]["status"] is None and told["second"]["seconds"] < 4
    assert "the connection to one is lost" in told["second"]["warnings"][0]
    assert told["third"]["status"] is None and told["third"]["seconds"] < 4
