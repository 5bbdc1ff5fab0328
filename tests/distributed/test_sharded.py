"""FSDP2, tensor parallelism and FSDP1: values of the whole weights, and training that does not notice."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.distributed.launch import launch
from tests.distributed.worker import Tiny, measured

MODES = {
    "fsdp2": 2,
    "fsdp2_tied": 2,
    "fsdp2_bf16": 2,
    "tp": 2,
    "fsdp1_orig": 2,
    "fsdp1_flat": 2,
    "fsdp1_ignored": 2,
    "2d": 4,
}
TIED = {"fsdp2_tied", "fsdp1_orig", "fsdp1_flat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, list[dict[str, Any]]]:
    told: dict[str, list[dict[str, Any]]] = {}
    for processes in (2, 4):
        modes = [mode for mode, count in MODES.items() if count == processes]
        ranks = launch("sharded_worker.py", folder, *modes, processes=processes)
        told |= {mode: [rank[mode] for rank in ranks] for mode in modes}
    return told


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def told(reports: dict[str, list[dict[str, Any]]], mode: str) -> list[dict[str, Any]]:
    return reports[mode]


def test_values_and_names_are_those_of_the_whole_model(told: list[dict[str, Any]], mode: str) -> None:
    alone = measured(Tiny(tied=mode in TIED))
    for rank in told:
        assert rank["first"] == alone
        assert list(rank["first"]) == list(alone), "order of the layers"


def test_trained_values_are_those_of_the_gathered_state(told: list[dict[str, Any]], mode: str, folder: Path) -> None:
    model = Tiny(tied=mode in TIED)
    model.load_state_dict(torch.load(folder / f"{mode}.pt", weights_only=True))
    alone = measured(model)
    for rank in told:
        assert rank["last"] == rank["evaluated"] == alone


def test_rows_are_of_the_file_where_it_holds_an_average(told: list[dict[str, Any]], mode: str) -> None:
    alone = measured(Tiny(tied=mode in TIED, seed=1))
    for rank in told:
        assert rank["averaged"] == alone
        assert rank["saved"] == rank["last"] and rank["reused"] == 11


def test_training_goes_on_as_without_us(told: list[dict[str, Any]]) -> None:
    for rank in told:
        assert rank["losses"] == rank["bare"]
        assert rank["same_end"]


def test_nothing_is_changed(told: list[dict[str, Any]]) -> None:
    for rank in told:
        assert len(rank["untouched"]) == 8 and all(rank["untouched"][:-1]), rank["untouched"]


def test_only_what_has_changed_is_gathered_and_analysed(told: list[dict[str, Any]], mode: str) -> None:
    looks = [dict(zip(("step", "reused", "own", "gathers"), look, strict=True)) for look in told[0]["looks"]]
    assert [look["step"] for look in looks] == [0, 5, 10, 15, 20, 40, 50, 60]
    own = [sorted(sum((rank["looks"][i][2] for rank in told), [])) for i in range(len(looks))]
    whole_unit = [f"layers.1.{layer}" for layer in ("attn.o_proj", "attn.q_proj", "mlp.down_proj", "mlp.up_proj")]
    root = ["gate", "lm_head", "score"]
    for look, names in zip(looks, own, strict=True):
        assert len(names) == len(set(names)) == 11 - look["reused"]
        match look["step"]:
            case 5 | 15 | 60:  # between backward and step; after an evaluation
                assert names == [] and look["gathers"] == 0
            case 40:
                assert names == (whole_unit if "fsdp1" in mode else ["layers.1.mlp.up_proj"])
            case 50:
                assert names == (root if mode in ("fsdp1_orig", "fsdp1_flat") else ["gate"])
            case _:
                assert len(names) == 11
    if mode.startswith("fsdp2"):
        assert looks[0]["gathers"] == 11
        assert looks[-2]["gathers"] == 1
