"""Sharded parameters in one process; in several: tests/distributed/test_sharded.py."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks import AnalysisOptions, Monitor
from alpha_callbacks.errors import MonitorError
from alpha_callbacks.training.gather import digests_of, gathered
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.sharded import Zero3Parameter, fsdp1_units, is_fsdp1, is_zero3, require_whole
from tests.conftest import noise, weight_of

OPTIONS = AnalysisOptions(precisions=("fp32",))


class Status(Enum):
    AVAILABLE = 1
    NOT_AVAILABLE = 2


class Deepspeed(ModuleType):
    """Partitions parameters as ZeRO-3 does for rank 0 of 2, and gathers them in GatheredParameters."""

    def __init__(self) -> None:
        super().__init__("deepspeed")
        self.entered: list[tuple[int, Any]] = []
        self.zero = SimpleNamespace(GatheredParameters=self.gathered)
        self.failing = -1

    def partition(self, model: nn.Module) -> nn.Module:
        for number, parameter in enumerate(model.parameters()):
            given: Any = parameter
            given.ds_id, given.ds_shape, given.full = number, parameter.shape, parameter.detach().clone()
            given.ds_tensor = given.full.flatten()[: parameter.numel() // 2].clone()
            given.ds_tensor.status = Status.AVAILABLE
            parameter.data = torch.empty(0)
        return model

    @contextmanager
    def gathered(self, parameters: list[Any], modifier_rank: int | None = 0) -> Iterator[None]:
        (parameter,) = parameters
        self.entered.append((parameter.ds_id, modifier_rank))
        if parameter.ds_id == self.failing:
            raise MemoryError("no more")
        parameter.data = parameter.full.clone()
        yield
        parameter.data = torch.empty(0)


@pytest.fixture
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> Deepspeed:
    module = Deepspeed()
    monkeypatch.setitem(sys.modules, "deepspeed", module)
    return module


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 24), nn.LayerNorm(24), nn.Linear(24, 40), nn.Linear(40, 16))


def alphas(monitor: Monitor, model: nn.Module) -> dict[str, float]:
    snapshot = monitor.log(model, 0)
    assert snapshot is not None
    return {row.layer_name: row.alpha for row in snapshot.table}


def watch() -> Monitor:
    return Monitor(OPTIONS, sinks=[], on_error="raise")


def test_zero3_values_are_those_of_the_whole_model(deepspeed: Deepspeed) -> None:
    with watch() as monitor:
        alone = alphas(monitor, network())
    model = deepspeed.partition(network())
    with watch() as monitor:
        assert alphas(monitor, model) == alone
        assert deepspeed.entered == [(0, None), (4, None), (6, None)], "module order, for reading only"
        assert alphas(monitor, model) == alone
        assert len(deepspeed.entered) == 3, "unchanged partitions are not gathered"
        changed: Any = model[2].weight
        changed.full[0] += 1
        changed.ds_tensor[:40] += 1
        assert alphas(monitor, model)["2"] != alone["2"]
        assert deepspeed.entered[3:] == [(4, None)]
    assert all(parameter.shape == (0,) for parameter in model.parameters())


def test_zero3_partitions_on_disk_count_as_changed(deepspeed: Deepspeed) -> None:
    model = deepspeed.partition(network())
    with watch() as monitor:
        alphas(monitor, model)
        swapped: Any = model[0].weight
        swapped.ds_tensor.status = Status.NOT_AVAILABLE
        alphas(monitor, model)
        alphas(monitor, model)
    assert [number for number, _ in deepspeed.entered] == [0, 4, 6, 0, 0]
    with pytest.raises(MonitorError, match="expected a partition in memory"):
        Zero3Parameter(model[0].weight).local()


def test_every_context_is_entered_by_ranks_that_need_nothing_of_it(deepspeed: Deepspeed) -> None:
    weights = module_inventory(deepspeed.partition(network()), OPTIONS).weights
    assert gathered(weights, set(), copy=True) == []
    assert deepspeed.entered == [(0, None), (4, None), (6, None)]


def test_error_in_one_context_does_not_end_the_others(deepspeed: Deepspeed) -> None:
    weights = module_inventory(deepspeed.partition(network()), OPTIONS).weights
    deepspeed.failing = 4
    mine = {weight.layer_name: weight for weight in gathered(weights, {"0", "2", "3"}, copy=False)}
    assert [number for number, _ in deepspeed.entered] == [0, 4, 6]
    assert torch.equal(mine["3"].rows(0, 16), network()[3].weight)
    with pytest.raises(MonitorError, match="^no more$") as caught:
        mine["2"].rows(0, 1)
    assert type(caught.value).__name__ == "MemoryError", "the reason in the table begins with it"


def test_zero3_weight_that_a_parametrization_computes_is_not_analysed(deepspeed: Deepspeed) -> None:
    model = network()
    nn.utils.parametrizations.weight_norm(model[2])
    deepspeed.partition(model)
    with watch() as monitor:
        snapshot = monitor.log(model, 0)
    assert snapshot is not None
    (row,) = [row for row in snapshot.table if row.layer_name == "2"]
    assert row.status == "unsupported" and "ZeRO-3 has partitioned" in row.reason
    assert [number for number, _ in deepspeed.entered] == [0, 7]


def test_a_shard_cannot_be_read_as_if_it_were_whole(deepspeed: Deepspeed) -> None:
    (weight, *_) = module_inventory(deepspeed.partition(network()), OPTIONS).weights
    with pytest.raises(MonitorError, match="this rank holds only a shard"):
        weight.rows(0, 1)
    with pytest.raises(MonitorError, match="expected a whole weight"):
        require_whole(None)


def test_weights_that_share_a_context_are_read_in_one() -> None:
    class Unit:
        entered = 0
        looked = 0

        @contextmanager
        def whole(self) -> Iterator[None]:
            self.entered += 1
            yield

        def local(self) -> list[Tensor]:
            self.looked += 1
            return [torch.ones(3), torch.ones(0)]

    from dataclasses import replace

    units = [Unit(), Unit()]
    weights = [replace(weight_of(noise(4, 4, i), str(i)), sharded=units[i % 2]) for i in range(4)]
    assert [weight.layer_name for weight in gathered(weights, {"0", "1", "2"}, copy=False)] == ["0", "2", "1"]
    assert len(set(digests_of(weights).values())) == 1 and len(digests_of(weights)) == 4
    assert [unit.entered for unit in units] == [1, 1]
    assert [unit.looked for unit in units] == [2, 2], "once for both layers"


def test_a_plain_model_has_no_sharded_parameters() -> None:
    model = network()
    assert not fsdp1_units(model) and not is_fsdp1(model) and not is_zero3(model[0].weight)
    assert all(weight.sharded is None for weight in module_inventory(model, OPTIONS).weights)
