"""Follows the rules of a run from state to state: what holds, and what holds anew."""

import math
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.training.alert_rules import STATUSES, AlertRule

_Place = tuple[str, str]  # layer, precision
_NAMED = 3  # layers in a note
_AT_ANY_TIME = ("non_finite", "failed")  # bad in the first state too; other statuses may be meant there


class AlertWatch:
    """Evaluates rules on the states of one run, in the order of their steps.

    A rule holds anew for a layer if it did not hold in the last state that tells: one in which the layer was skipped,
    or has no such value, tells nothing. Ranks that see the same tables find the same.

    Args:
        rules: from `alert_rules`.

    Attributes:
        rules: the rules.
        begun: True after `begin`.
        notes: what a reader has to know about rules that find nothing in this model, known once it has begun.
    """

    def __init__(self, rules: Sequence[AlertRule]) -> None:
        self.rules = tuple(rules)
        self.begun = False
        self.notes: tuple[str, ...] = ()
        self._first: dict[_Place, Row] = {}  # of each layer and precision, the first that has an alpha
        self._begun: dict[_Place, str] = {}  # the first status
        self._held: set[tuple[str, str]] = set()  # rule, layer

    def begin(self, start: Table | None, now: Table) -> None:
        """Take the first state now, and that of a run that is continued if its layers and tail sizes are the same."""
        self.begun = True
        self.notes = tuple(note for rule in self.rules if (note := _note(rule, now)))
        if start is None or _places(start) != _places(now):
            return
        sizes = {place: row.k_used for place, row in _rows(now)}
        self._learn((place, row) for place, row in _rows(start) if not row.ok or row.k_used == sizes[place])

    def see(self, table: Table) -> tuple[Alert, ...]:
        """Return every alert that holds in a state, in the order of the rules and of the layers."""
        self._learn(_rows(table))
        return tuple(alert for rule in self.rules for alert in self._alerts(rule, table))

    def _learn(self, rows: Iterable[tuple[_Place, Row]]) -> None:
        for place, row in rows:
            if row.status != "skipped":
                self._begun.setdefault(place, row.status)
            if row.ok:
                self._first.setdefault(place, row)

    def _alerts(self, rule: AlertRule, table: Table) -> list[Alert]:
        found = []
        text = str(rule)
        for layer in _concerned(rule, table):
            name = layer.first.layer_name
            row, value = self._value(rule, layer, table.reference)
            holds = self._turned(rule, row) if rule.value in STATUSES else _beyond(rule, value)
            if holds is None:  # not known: neither new nor over
                continue
            if not holds:
                self._held.discard((text, name))
                continue
            new = (text, name) not in self._held
            self._held.add((text, name))
            found.append(Alert(text, name, row.precision, value, rule.limit, rule.of_start, new, rule.stop))
        return found

    def _value(self, rule: AlertRule, layer: LayerRows, reference: str) -> tuple[Row, float]:
        """Return the row that a rule looks at, and what it compares there, nan if that is not known."""
        if rule.value == "drift":
            others = [rule.precision] if rule.precision else [row.precision for row in layer.rows]
            drifts = [(layer[name], _drift(layer, name, reference, rule)) for name in others if name != reference]
            return _largest(drifts, layer)
        if rule.value == "relative_error" and not rule.precision:
            return _largest([(row, row.relative_error) for row in layer.rows], layer)
        row = layer[rule.precision or reference]
        if rule.value in STATUSES or rule.value.startswith("alpha") and not row.ok:
            return row, math.nan
        first = self._first.get((row.layer_name, row.precision))
        if rule.value == "change":
            return row, abs(row.alpha - first.alpha) if row.ok and first is not None else math.nan
        value = float(getattr(row, rule.value))
        if rule.of_start:
            start = float(getattr(first, rule.value)) if first is not None else math.nan
            value = value / start if start else math.nan
        return row, value

    def _turned(self, rule: AlertRule, row: Row) -> bool | None:
        if row.status == "skipped":
            return None
        meant = rule.value not in _AT_ANY_TIME and self._begun.get((row.layer_name, row.precision)) == rule.value
        return row.status == rule.value and not meant


def first_state(folder: Path, step: int) -> Table | None:
    """Return the first state in the history that a run continues at a step; None if there is none to be read."""
    from alpha_callbacks.comparison.read_history import read_history

    try:
        history = read_history(folder / HISTORY)
    except ResultsError:  # none yet; or a damaged one, of which the sink that appends to it says so
        return None
    return history.table(history.steps[0]) if history.steps[0] < step else None


def _checked(rule: AlertRule, table: Table) -> Sequence[LayerRows]:
    """Return where a rule looks: at values of weights (of updates where there is nothing else), at all statuses."""
    return table.layers if rule.value in STATUSES else table.main.layers


def _concerned(rule: AlertRule, table: Table) -> list[LayerRows]:
    """Return the layers that a rule is about."""
    pattern = re.compile(rule.layers)
    return [layer for layer in _checked(rule, table) if pattern.search(layer.first.layer_name)]


def _note(rule: AlertRule, table: Table) -> str:
    """Return why a rule finds nothing in a model that has these layers, "" if it can."""
    told, layers = f"alerts: {(rule.written or str(rule))!r}", _concerned(rule, table)
    names = [layer.first.layer_name for layer in _checked(rule, table)]
    if names and not layers:
        near = ", ".join(get_close_matches(rule.layers, names, n=_NAMED, cutoff=0.0))
        return f"{told} can never hold: {rule.layers!r} is found in none of {len(names)} layer names. There are {near}"
    looked = [row.relative_error for layer in layers for row in layer.rows if rule.precision in ("", row.precision)]
    known = {error for error in looked if not math.isnan(error)}
    if rule.value == "relative_error" and rule.above is not None and known == {0.0}:
        lossless = rule.precision or ", ".join(table.precisions)
        return f"{told} finds nothing: no weight loses anything at {lossless}. Analyse a coarser precision too"
    return ""


def _largest(found: Sequence[tuple[Row, float]], layer: LayerRows) -> tuple[Row, float]:
    """Return the largest value that is known, and its row."""
    return max(found, key=lambda entry: (not math.isnan(entry[1]), entry[1]), default=(layer.first, math.nan))


def _drift(layer: LayerRows, precision: str, reference: str, rule: AlertRule) -> float:
    """Return |drift|; where only a bound of it is known, that bound if it answers the rule, else nan."""
    drift, bound = abs(layer.drift(precision, reference)), layer.drift_bound(precision, reference)
    return bound if math.isnan(drift) and bound < rule.limit else drift


def _beyond(rule: AlertRule, value: float) -> bool | None:
    if math.isnan(value):
        return None
    return value > rule.limit if rule.above is not None else value < rule.limit


def _rows(table: Table) -> list[tuple[_Place, Row]]:
    return [((row.layer_name, row.precision), row) for row in table]


def _places(table: Table) -> set[_Place]:
    return {place for place, _ in _rows(table)}
