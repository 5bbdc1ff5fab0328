"""The lines in which alerts are told."""

import math
from dataclasses import replace
from typing import Any

from alpha_callbacks.sinks.alert import Alert, alert_lines, rules_by_row


def alert(layer: str, value: float, **changes: Any) -> Alert:
    return replace(Alert("alpha < 2", layer, "fp32", value, 2.0), **changes)


def test_one_line_per_rule_with_the_layers_farthest_from_the_limit() -> None:
    found = [alert(f"fc{i}", 2 - i / 10) for i in range(1, 6)]
    found += [alert("old", 0.1, new=False), alert("head", math.nan, rule="non_finite", limit=math.nan, stops=True)]
    found += [alert("fc1", 0.07, rule="stable_rank < 20% of start", limit=0.2, of_start=True)]
    assert [line.text for line in alert_lines(found)] == [
        "alpha < 2: 5 layers: fc5 (1.5), fc4 (1.6), fc3 (1.7) and 2 more.",
        "non_finite: head. Training stops.",
        "stable_rank < 20% of start: fc1 (7%).",
    ]
    assert alert_lines([alert("old", 0.1, new=False)]) == []


def test_cells_of_the_history_hold_what_holds_new_or_not() -> None:
    found = [alert("a", 1.0, new=False), alert("a", 1.0, rule="change > 1"), alert("b", 1.0, precision="bf16")]
    assert rules_by_row(found) == {("a", "fp32"): "alpha < 2; change > 1", ("b", "bf16"): "alpha < 2"}
