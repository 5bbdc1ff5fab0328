"""What a rule of a training run has found in one layer, and the line that says so."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alpha_callbacks.tables.history_columns import RULE_SEPARATOR

_NAMED = 3  # layers in a line


@dataclass(frozen=True)
class Alert:
    """A rule that holds for a layer of a state.

    Attributes:
        rule: the rule as text, such as "alpha_ratio > 1.2".
        layer_name: the layer.
        precision: whose row it holds for.
        value: what the rule compares, in the unit of its limit; nan for a rule about a status.
        limit: the number that it is compared with; nan for a rule about a status.
        of_start: both are shares of the layer's first value.
        new: False if the rule held for this layer in the state before too.
        stops: the rule ends the run.
    """

    rule: str
    layer_name: str
    precision: str
    value: float
    limit: float
    of_start: bool = False
    new: bool = True
    stops: bool = False


@dataclass(frozen=True)
class AlertLine:
    """The new alerts of one rule.

    Attributes:
        rule: the rule as text.
        layers: which layers, in words.
        stops: the rule ends the run.
    """

    rule: str
    layers: str
    stops: bool

    @property
    def text(self) -> str:
        """The line."""
        return f"{self.rule}: {self.layers}" + (" Training stops." if self.stops else "")


def alert_lines(alerts: Iterable[Alert]) -> list[AlertLine]:
    """Return one line per rule that newly holds somewhere, the layers farthest from its limit first.

    Examples:
        >>> found = [Alert("alpha < 2", "fc1", "fp32", 1.75, 2.0), Alert("alpha < 2", "fc2", "fp32", 1.5, 2.0)]
        >>> [line.text for line in alert_lines(found)]
        ['alpha < 2: fc2 (1.5), fc1 (1.75).']
    """
    rules: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.new:
            rules.setdefault(alert.rule, []).append(alert)
    return [AlertLine(rule, _layers(found), found[0].stops) for rule, found in rules.items()]


def rules_by_row(alerts: Iterable[Alert]) -> dict[tuple[str, str], str]:
    """Return (layer, precision) -> the rules that hold there, as a cell of the history."""
    rules: dict[tuple[str, str], list[str]] = {}
    for alert in alerts:
        rules.setdefault((alert.layer_name, alert.precision), []).append(alert.rule)
    return {place: RULE_SEPARATOR.join(found) for place, found in rules.items()}


def _layers(alerts: Sequence[Alert]) -> str:
    ranked = sorted(alerts, key=lambda alert: -_distance(alert))
    named = ", ".join(_with_value(alert) for alert in ranked[:_NAMED])
    count = f"{len(alerts)} layers: " if len(alerts) > _NAMED else ""
    more = f" and {len(alerts) - _NAMED} more" if len(alerts) > _NAMED else ""
    return f"{count}{named}{more}."


def _with_value(alert: Alert) -> str:
    if math.isnan(alert.value):
        return alert.layer_name
    value = f"{100 * alert.value:.3g}%" if alert.of_start else f"{alert.value:.4g}"
    return f"{alert.layer_name} ({value})"


def _distance(alert: Alert) -> float:
    return 0.0 if math.isnan(alert.value) else abs(alert.value - alert.limit)
