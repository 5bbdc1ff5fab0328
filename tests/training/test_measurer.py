"""Reuse of unchanged layers, time budgets and errors, in one process; with several ones: tests/distributed."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import alpha_callbacks.analysis.parallel
from alpha_callbacks import AnalysisOptions
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.errors import MonitorError, PeerError
from alpha_callbacks.tables.table import Table
from alpha_callbacks.training.measurer import Measurer
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight

OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is analysed."""
    real, seen = alpha_callbacks.analysis.parallel.analyze_weight, list[str]()

    def spy(weight: Weight, *others: Any) -> Any:
        seen.append(weight.layer_name)
        return real(weight, *others)

    monkeypatch.setattr(alpha_callbacks.analysis.parallel, "analyze_weight", spy)
    return seen


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 32), nn.Linear(32, 24), nn.Linear(24, 16))


def look(measurer: Measurer, model: nn.Module, *, copy: bool = False, **options: Any) -> tuple[Table, frozenset[str]]:
    pending = measurer.take(lambda: module_inventory(model, OPTIONS), copy=copy)
    return measurer.analyze(pending, Ranks(), **options), pending.reused


def change(layer: nn.Module) -> None:
    with torch.no_grad():
        layer.weight[0, 0] += 1


@pytest.mark.parametrize("copy", [False, True])
def test_only_what_has_changed_is_analysed(names: list[str], copy: bool) -> None:
    model, measurer = network(), Measurer(OPTIONS, Ranks())
    first, reused = look(measurer, model, copy=copy)
    assert sorted(names) == ["0", "1", "2"] and not reused
    names.clear()
    assert look(measurer, model, copy=copy) == (first, {"0", "1", "2"}) and names == []
    change(model[1])
    table, reused = look(measurer, model, copy=copy)
    assert names == ["1"] and reused == {"0", "2"}
    assert [row.layer_name for row in table] == ["0", "0", "1", "1", "2", "2"]
    names.clear()
    assert look(Measurer(OPTIONS, Ranks()), model)[0] == table


def test_a_copy_is_of_the_state_that_was_taken(names: list[str]) -> None:
    model, measurer = network(), Measurer(OPTIONS, Ranks())
    expected, _ = look(Measurer(OPTIONS, Ranks()), model)
    pending = measurer.take(lambda: module_inventory(model, OPTIONS), copy=True)
    change(model[0])
    assert measurer.analyze(pending, Ranks()) == expected
    names.clear()
    look(measurer, model)
    assert names == ["0"], "the change since then is seen"


def test_failed_layers_are_analysed_again(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model, measurer = network(), Measurer(OPTIONS, Ranks())
    with monkeypatch.context() as patch:
        patch.setattr(Weight, "held", lambda self: 1 / (self.layer_name != "1") and self)
        table, _ = look(measurer, model)
    assert {row.layer_name: row.status for row in table} == {"0": "ok", "1": "failed", "2": "ok"}
    names.clear()
    table, reused = look(measurer, model)
    assert names == ["1"] and reused == {"0", "2"}
    assert all(row.ok for row in table)


def test_an_analysis_that_failed_as_a_whole_leaves_the_last_rows_valid(names: list[str]) -> None:
    model, measurer = network(), Measurer(OPTIONS, Ranks())
    before, _ = look(measurer, model)
    change(model[2])

    def stop() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look(measurer, model, stop=stop)
    names.clear()
    after, reused = look(measurer, model)
    assert names == ["2"] and reused == {"0", "1"}
    assert after != before


def test_a_budget_that_is_too_small_sees_each_layer_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model, measurer = network(), Measurer(OPTIONS, Ranks(), threads=1, max_seconds=1e6)
    seen: list[str] = []
    for _ in range(3):
        for layer in model:
            change(layer)
        begun = iter([False])
        table, _ = look(measurer, model, stop=lambda turn=begun: next(turn, True))
        seen += [row.layer_name for row in table if row.status != "skipped" and row.precision == "fp32"]
        assert all("left out" in row.reason for row in table if row.status == "skipped")
    assert sorted(seen) == ["0", "1", "2"]


def test_a_model_without_weights_is_an_error() -> None:
    with pytest.raises(MonitorError, match="expected at least one weight matrix to analyse, found none"):
        look(Measurer(OPTIONS, Ranks()), nn.LayerNorm(3))


def test_ranks_with_different_layers_are_an_error() -> None:
    class Odd(Ranks):
        """Rank 0 of 2; the other has the layers in another order."""

        def gather(self, value: Any) -> list[Any]:
            return [value, value]

        def agree(self, task: Any) -> list[Any]:
            own: Sequence[Any] = task()
            return [own, own[::-1]]

    with pytest.raises(PeerError, match="rank 1: expected the same layers as rank 0"):
        look(Measurer(OPTIONS, Odd(0, 2)), network())


def test_what_states_leave_to_later_ones_takes_a_quarter_of_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = list[float]()
    monkeypatch.setattr(EarlierStates, "admit", lambda *given, **options: free.append(options["free"]))
    monkeypatch.setattr("alpha_callbacks.training.measurer.available_memory", lambda: 4000)
    look(Measurer(OPTIONS, Ranks(), reuse_bytes=10**9), network())
    assert free == [1000]
