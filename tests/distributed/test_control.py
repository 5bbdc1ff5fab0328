"""Layer-wise control on two processes: the same multipliers, bit for bit, and an exact resumption."""

from typing import Any

import pytest

from alpha_callbacks.control.layerwise_control import LayerwiseControl
from tests.distributed.control_worker import CUT, OPTIONS, prepared
from tests.distributed.launch import launch
from tests.distributed.worker import Tiny


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return launch("control_worker.py", tmp_path_factory.mktemp("control"), "ddp", "fsdp2")


@pytest.mark.parametrize("mode", ["ddp", "fsdp2"])
def test_ranks_agree_bit_for_bit_and_with_one_process_alone(reports: list[dict[str, Any]], mode: str) -> None:
    first, second = (report[mode] for report in reports)
    assert first["told"] == second["told"] and first["last"] == second["last"]
    model = Tiny()
    with LayerwiseControl(model, prepared(model), **OPTIONS) as control:
        decision = control.update(0)
    assert decision is not None
    assert first["told"][0] == {name: value.hex() for name, value in decision.multipliers.items()}
    assert [told is not None for told in first["told"]] == [True, False, True, False, True, False]


@pytest.mark.parametrize("mode", ["ddp", "fsdp2"])
def test_a_resumed_run_is_the_uninterrupted_one(reports: list[dict[str, Any]], mode: str) -> None:
    for report in reports:
        assert report[mode]["resumed"] == report[mode]["told"][CUT:]
        assert report[mode]["same"]


def test_ranks_with_other_options_are_told_so(reports: list[dict[str, Any]]) -> None:
    texts = {report["refused"] for report in reports}
    assert texts == {"PeerError: rank 1: expected every=2, as on rank 0, got 3. Give every rank the same options."}
