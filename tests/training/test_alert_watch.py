"""Rules from state to state: what holds, and once per layer what holds anew."""

import math
from pathlib import Path
from typing import Any

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host
from alpha_callbacks.tables.table import Table
from alpha_callbacks.training.alert_rules import alert_rules
from alpha_callbacks.training.alert_watch import AlertWatch, first_state
from tests.support.rows import LAYERS, row, snapshot, table


def states(rules: Any, *tables: Table) -> list[list[tuple[str, str, bool]]]:
    """Return (rule, layer, new) of each state."""
    watch = AlertWatch(alert_rules(rules))
    return [[(a.rule, a.layer_name, a.new) for a in watch.see(each)] for each in tables]


def one(alpha: float = 3.0, layer: str = "fc", **changes: Any) -> Table:
    """Return a table of one layer, whose bf16 differs by 0.01."""
    return Table.from_rows([row(layer, "fp32", alpha, **changes), row(layer, "bf16", alpha + 0.01)], ("fp32", "bf16"))


def test_once_until_it_is_over() -> None:
    found = states("alpha < 2", one(3.0), one(1.9), one(1.8), one(2.0), one(1.7))
    new, old = ("alpha < 2", "fc", True), ("alpha < 2", "fc", False)
    assert found == [[], [new], [old], [], [new]]


def test_a_state_that_tells_nothing_ends_nothing() -> None:
    lost, skipped = one(status="non_finite", reason="nan"), one(status="skipped")
    assert states("alpha < 2", one(1.9), lost, skipped, one(1.9))[-1] == [("alpha < 2", "fc", False)]
    assert states("non_finite", lost, skipped, lost) == [
        [("non_finite", "fc", True)], [], [("non_finite", "fc", False)]
    ]  # fmt: skip


def test_change_counts_from_the_first_alpha_in_both_directions() -> None:
    found = states("change > 0.5", one(status="degenerate"), one(3.0), one(3.4), one(2.4), one(3.5))
    assert [[new for *_, new in state] for state in found] == [[], [], [], [True], []]
    assert states("change > 0.5", one(3.0), one(3.6)) == [[], [("change > 0.5", "fc", True)]]


def test_shares_of_the_start() -> None:
    begin, collapsed = one(frobenius_norm=6.0), one(frobenius_norm=3.05)  # stable ranks 4 and 1.03
    assert states("stable_rank < 26% of start", begin, collapsed)[1] and not states("stable_rank < 25% of start",
                                                                                   begin, collapsed)[1]  # fmt: skip
    watch = AlertWatch(alert_rules("spectral_norm > 300% of start"))
    watch.see(one(spectral_norm=1.0))
    (alert,) = watch.see(one(spectral_norm=4.0))
    assert (alert.value, alert.limit, alert.of_start) == (4.0, 3.0, True)


def test_statuses_that_a_layer_begins_with_are_meant_except_nan() -> None:
    zero, broken = one(status="degenerate"), one(status="non_finite")
    assert states(["degenerate", "non_finite"], zero, one(), zero, broken) == [
        [], [], [], [("non_finite", "fc", True)]
    ]  # fmt: skip
    assert states("degenerate", one(), zero)[1] == [("degenerate", "fc", True)]
    assert states("non_finite", broken) == [[("non_finite", "fc", True)]]


def test_precisions_layers_and_ratios() -> None:
    both = table(("a.q_proj", "a.k_proj"))  # alphas 2 and 3 (2.01 and 3.01 at bf16), of noise 5
    assert states("alpha_ratio > 0.5 in q_proj", both) == [[]]
    assert states("alpha_ratio > 0.5", both) == [[("alpha_ratio > 0.5", "a.k_proj", True)]]
    watch = AlertWatch(alert_rules(["alpha > 3.005 at bf16", "drift > 0.001"]))
    assert [(a.layer_name, a.precision) for a in watch.see(both)] == [
        ("a.k_proj", "bf16"), ("a.q_proj", "bf16"), ("a.k_proj", "bf16")
    ]  # fmt: skip


def notes(rules: Any, first: Table) -> tuple[str, ...]:
    watch = AlertWatch(alert_rules(rules))
    watch.begin(None, first)
    return watch.notes


def test_a_pattern_that_is_found_in_no_layer_is_named_with_names_that_exist() -> None:
    (note,) = notes(["stop if  alpha>1 in lm_haed", "alpha > 1 in lm", "non_finite"], table())
    assert note.startswith(
        "alerts: 'stop if  alpha>1 in lm_haed' can never hold: 'lm_haed' is found in none of 4 layer"
    )
    near = note.partition("There are ")[2].split(", ")
    assert near[0] == "lm_head" and len(set(near)) == 3 and set(near) < set(LAYERS)
    update = [row("fc (update)", name, 1.0, category="other_update") for name in ("fp32", "bf16")]
    beside = Table.from_rows([*one(), *update], ("fp32", "bf16"))
    assert [note.split("'")[1] for note in notes(["alpha > 1 in update", "failed in update"], beside)] == [
        "alpha > 1 in update"
    ]


def test_a_relative_error_is_the_largest_of_all_precisions() -> None:
    def at(**errors: float) -> Table:
        rows = [row("fc", name, 3.0, relative_error=error) for name, error in errors.items()]
        return Table.from_rows(rows, tuple(errors))

    watch = AlertWatch(alert_rules(["relative_error > 0.01", "relative_error > 0 at fp32", "relative_error < 0.5"]))
    found = [(a.rule, a.precision, a.value) for a in watch.see(at(fp32=0.0, int4=0.1, bf16=0.002))]
    assert found == [("relative_error > 0.01", "int4", 0.1), ("relative_error < 0.5", "int4", 0.1)]
    assert watch.see(at(fp32=0.0, int4=math.nan, bf16=0.02))[0].precision == "bf16"
    lossless = at(fp64=0.0, fp32=0.0)
    assert notes("relative_error > 0.01", lossless) == (
        "alerts: 'relative_error > 0.01' finds nothing: no weight loses anything at fp64, fp32. "
        "Analyse a coarser precision too",
    )
    assert notes("relative_error > 0.01 at fp32", at(fp32=0.0, bf16=0.002)) != ()
    assert notes("relative_error > 0.01", at(fp32=0.0, bf16=0.002)) == ()
    assert notes(["relative_error < 0.01", "alpha > 3"], lossless) == ()
    assert notes("relative_error > 0.01", at(fp32=math.nan)) == ()


def test_a_bound_of_a_drift_answers_what_it_can() -> None:
    def bounded(bound: float) -> Table:
        rows = [row("fc", "fp32", 3.0), row("fc", "bf16", 3.0, method="bounded", alpha_error_bound=bound)]
        return Table.from_rows(rows, ("fp32", "bf16"))

    assert states("drift > 0.005", one(), bounded(1e-5), one()) == [
        [("drift > 0.005", "fc", True)], [], [("drift > 0.005", "fc", True)]
    ]  # fmt: skip
    assert states("drift > 0.005", one(), bounded(0.1), one())[2] == [("drift > 0.005", "fc", False)]


def test_updates_have_statuses_but_no_values_beside_weights() -> None:
    update = [row("fc (update)", name, 1.0, category="other_update") for name in ("fp32", "bf16")]
    beside = Table.from_rows([*one(), *update], ("fp32", "bf16"))
    assert states("alpha < 2", beside) == [[]]
    assert states("alpha < 2", Table.from_rows(update, ("fp32", "bf16"))) != [[]]
    broken = [
        row("fc (update)", name, math.nan, category="other_update", status="non_finite") for name in ("fp32", "bf16")
    ]
    assert states("non_finite", Table.from_rows([*one(), *broken], ("fp32", "bf16"))) != [[]]


def test_a_run_that_is_continued_keeps_its_start(tmp_path: Path) -> None:
    sink = CsvSink(Host(tmp_path))
    for step, alpha in ((0, 3.0), (10, 3.3)):
        sink.log(snapshot(step, one(alpha)))
    assert first_state(tmp_path, 0) is None and first_state(tmp_path / "none", 5) is None
    start = first_state(tmp_path, 10)
    assert start is not None and start.layers[0].first.alpha == 3.0
    watch = AlertWatch(alert_rules("change > 0.5"))
    watch.begin(start, one(3.6))
    assert [a.value for a in watch.see(one(3.6))] == [3.6 - 3.0]
    for other in (one(3.6, layer="other"), one(3.6, k_used=20)):  # another run; other options
        watch = AlertWatch(alert_rules("change > 0.5"))
        watch.begin(start, other)
        assert watch.see(other) == ()
    (tmp_path / "alpha_hill_history.csv").write_text("not a history\n")
    assert first_state(tmp_path, 10) is None


def test_rules_are_about_what_is_analysed() -> None:
    assert alert_rules("alpha < 2 at bf16", AnalysisOptions(precisions=("fp32", "bf16")).precisions)
