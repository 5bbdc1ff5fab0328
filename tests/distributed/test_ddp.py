"""DistributedDataParallel: the layers are divided, the numbers are those of one process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.distributed.launch import launch
from tests.distributed.worker import Tiny, measured


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ddp")


@pytest.fixture(scope="module")
def reports(folder: Path) -> list[dict[str, Any]]:
    return launch("ddp_worker.py", folder)


def test_numbers_are_those_of_one_process(reports: list[dict[str, Any]]) -> None:
    alone = measured(Tiny())
    for told in reports:
        assert told["first"] == alone
        assert list(told["first"]) == list(alone), "order of the layers"
        assert told["equal_last"]


def test_layers_are_divided(reports: list[dict[str, Any]]) -> None:
    first, second = (set(told["own"]) for told in reports)
    assert first and second and not first & second
    assert len(first | second) == 11


def test_only_what_has_changed_is_analysed(reports: list[dict[str, Any]]) -> None:
    assert [told["unchanged"] for told in reports] == [[11, [], True]] * 2
    assert [told["one_changed"][0] for told in reports] == [10, 10]
    assert sum((told["one_changed"][1] for told in reports), []) == ["layers.1.mlp.up_proj"]
    changed = Tiny()
    with torch.no_grad():
        changed.layers[1].mlp.up_proj.weight[3, 3] += 1.0
    assert reports[0]["third"] == reports[1]["third"] == measured(changed)


def test_only_the_first_rank_writes(reports: list[dict[str, Any]], folder: Path) -> None:
    assert (folder / "csv_0" / "alpha_hill_history.csv").exists()
    assert not (folder / "csv_1").exists()
    assert [told["delivered"] for told in reports] == [[1, 2, 3, 4], []]


def test_nothing_is_changed(reports: list[dict[str, Any]]) -> None:
    assert all(told["untouched"] for told in reports)


def test_in_the_background_all_ranks_leave_out_the_same_states(reports: list[dict[str, Any]]) -> None:
    first, second = (told["background"] for told in reports)
    assert first == second
    assert first["dropped"] > 0 and first["last"][0] == first["newest"] == 8
    changed = Tiny()
    with torch.no_grad():
        changed.layers[1].mlp.up_proj.weight[3, 3] += 1.0
        for _ in range(7):
            changed.gate.weight.add_(0.25)
    assert first["last"][1] == measured(changed)
