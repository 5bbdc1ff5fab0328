"""Updates of sharded weights have the values of one process."""

from pathlib import Path

import pytest

from tests.distributed.launch import TORCH, launch

pytest.importorskip("peft")


def test_updates_since_the_start_are_those_of_one_process(tmp_path: Path) -> None:
    from tests.distributed.updates_worker import MAKERS, states

    told = launch("updates_worker.py", tmp_path, imports=(*TORCH, "peft"))
    for name, make in MAKERS.items():
        alone = states(name, make(), tmp_path / f"alone_{name}")
        for rank in told:
            assert rank[name] == alone
        moved = {layer: value for layer, value in alone[1].items() if "(update)" in layer and value[0] == "ok"}
        assert any("gate" in layer for layer in moved) and all(value[3] > 0 for value in moved.values())
    assert told[0]["files"] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "start.json"]
    assert {layer.split(" ")[0].rpartition(".")[2] for layer in alone[1]} == {"q_proj", "gate"}
