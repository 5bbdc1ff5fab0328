"""The rules of alerts: what they can be about, how they are written, and the sets that have a name."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from alpha_callbacks.errors import OptionError
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.history_columns import RULE_SEPARATOR
from alpha_callbacks.tables.table import Status, Table

# What a rule can compare -> what that is.
VALUES = {
    "alpha": "tail exponent",
    "alpha_ratio": "alpha / alpha of noise of this shape",
    "change": "size of alpha − first alpha of the run",
    "drift": "size of alpha − alpha of the finest precision, the largest of all precisions unless one is named",
    "stable_rank": "‖W‖_F² / ‖W‖₂²",
    "spectral_norm": "largest singular value",
    "relative_error": "‖W − Q(W)‖ / ‖W‖, the largest of all precisions unless one is named",
}
_LEAST = {"alpha": 1, "stable_rank": 1}  # no layer has less; of the others 0
# What a rule can wait for -> when it holds.
STATUSES: dict[Status, str] = {
    "non_finite": "the weight holds nan or inf, or does so at this precision",
    "degenerate": "the layer has become constant, zero or of equal eigenvalues; not if it was so at the start",
    "rank_deficient": "the layer has lost its rank; not if it was so at the start",
    "failed": "the analysis of the layer failed",
}
PRESETS = {
    "default": ("non_finite", "degenerate", "stable_rank < 20% of start", "alpha < 1.5"),
    "finetune": ("non_finite", "degenerate", "stable_rank < 50% of start", "change > 0.5", "alpha_ratio > 1.2"),
}
_RULE = re.compile(
    r"(?P<stop>stop\s+if\s+)?(?P<value>[A-Za-z_]+)"
    r"(?:\s*(?P<side>[<>])\s*(?P<limit>[^\s%]+)\s*(?P<share>%\s*of\s+start)?)?"
    r"(?:\s+at\s+(?P<precision>\S+))?(?:\s+in\s+(?P<layers>\S.*))?"
)


@dataclass(frozen=True)
class AlertRule:
    """One rule: a value of a layer above or below a limit, or a status. Its text (`str`) can be read back.

    Attributes:
        value: a name of `VALUES` or `STATUSES`.
        above: holds above this limit.
        below: holds below this one; exactly one of both for a value, none for a status.
        of_start: the limit is a share of the layer's first value in the run.
        precision: whose rows; "": the finest one (for `drift` and `relative_error`: all).
        layers: regular expression, searched in layer names; "": all weights.
        stop: end the run when it newly holds.
        written: the text that it was read from, for messages; "" if it was made in Python.

    Raises:
        OptionError: names the rule, and what exists.

    Examples:
        >>> str(AlertRule("stable_rank", below=0.2, of_start=True, layers="q_proj"))
        'stable_rank < 20% of start in q_proj'
    """

    value: str
    above: float | None = None
    below: float | None = None
    of_start: bool = False
    precision: str = ""
    layers: str = ""
    stop: bool = False
    written: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the rule, and give the precision its canonical name."""
        if self.value not in VALUES and self.value not in STATUSES:
            raise _refused(self, f"there is no value or status {self.value!r}")
        limits = [limit for limit in (self.above, self.below) if limit is not None]
        if len(limits) != (self.value in VALUES):
            needs = "needs exactly one limit" if self.value in VALUES else "is a status and takes no limit"
            raise _refused(self, f"{self.value} {needs}")
        if not all(isinstance(limit, int | float) and math.isfinite(limit) for limit in limits):
            raise _refused(self, f"the limit is {limits[0]!r}")
        if self.of_start and self.value not in ("alpha", "alpha_ratio", "stable_rank", "spectral_norm"):
            raise _refused(self, f"{self.value} has no share of its start")
        least = 0 if self.of_start else _LEAST.get(self.value, 0)
        if self.below is not None and self.below <= least:
            raise _refused(self, f"it can never hold, {self.value} is never below {least}")
        if self.precision:
            object.__setattr__(self, "precision", get_precision(self.precision).name)
        if RULE_SEPARATOR in self.layers or "\n" in self.layers:
            raise _refused(self, f"{self.layers!r} holds what separates rules in the history")
        try:
            re.compile(self.layers)
        except re.error as error:
            raise _refused(self, f"{self.layers!r} is not a regular expression: {error}") from None
        layers, precision = _precision_at_the_end(self.layers)
        if precision:
            meant = f"{'stop if ' * self.stop}{replace(self, precision=precision, layers=layers)}"
            raise _refused(self, f'the precision comes before the layers: "{meant}"')

    @property
    def limit(self) -> float:
        """The limit; nan for a status."""
        return next((limit for limit in (self.above, self.below) if limit is not None), math.nan)

    def __str__(self) -> str:
        """Return the rule as it is written, without "stop if"."""
        side = f" {'<' if self.above is None else '>'} " if self.value in VALUES else ""
        limit = f"{self.limit:.15g}" if self.value in VALUES else ""
        if self.of_start:
            limit = f"{100 * self.limit:.12g}% of start"
        where = (f" at {self.precision}" if self.precision else "") + (f" in {self.layers}" if self.layers else "")
        return f"{self.value}{side}{limit}{where}"


def alert_rules(alerts: Any, precisions: Sequence[str] = ()) -> tuple[AlertRule, ...]:
    """Return the rules that a user has written, each once.

    Args:
        alerts: None, or one of these or a sequence of them: the name of a set in `PRESETS`, a rule as text, an
            `AlertRule`. A rule is `[stop if] <value> <|> <number>[% of start] [at <precision>] [in <regex>]`, or has a
            status in the place of the comparison.
        precisions: canonical names of those that are analysed.

    Raises:
        OptionError: names the rule, and lists what exists.

    Examples:
        >>> [str(rule) for rule in alert_rules(["alpha_ratio>1.2", "stop if non_finite"])]
        ['alpha_ratio > 1.2', 'non_finite']
    """
    if alerts is None:
        return ()
    found: dict[str, AlertRule] = {}
    for entry in [alerts] if isinstance(alerts, str | AlertRule) else _listed(alerts):
        for rule in [entry] if isinstance(entry, AlertRule) else _read(entry):
            if precisions and (why := _beyond_reach(rule, tuple(precisions))):
                raise _refused(rule, f"{why} (precisions={','.join(precisions)})")
            stop = rule.stop or str(rule) in found and found[str(rule)].stop
            found[str(rule)] = replace(rule, stop=stop)
    return tuple(found.values())


def _beyond_reach(rule: AlertRule, precisions: tuple[str, ...]) -> str:
    """Return why a rule can never hold where these precisions are analysed, "" if it can."""
    if rule.precision and rule.precision not in precisions:
        return f"{rule.precision} is not analysed"
    if rule.value == "drift" and len(precisions) == 1:
        return "drift is between two precisions, and one is analysed"
    if rule.value == "drift" and rule.precision == Table((), precisions).reference:
        return f"{rule.precision} is the finest precision, from which drift is measured"
    return ""


def _precision_at_the_end(layers: str) -> tuple[str, str]:
    """Return (layers, precision) of a text such as "q_proj at bf16"; the precision is "" if it names none."""
    before, at, name = layers.rstrip().rpartition(" at ")
    try:
        return (before.rstrip(), get_precision(name).name) if at else (layers, "")
    except OptionError:
        return layers, ""


def _listed(alerts: Any) -> list[Any]:
    try:
        return list(alerts)
    except TypeError:
        raise _refused(alerts, f"{type(alerts).__name__} is neither text nor a rule nor a list of them") from None


def _read(text: Any) -> list[AlertRule]:
    if not isinstance(text, str):
        raise _refused(text, f"{type(text).__name__} is neither text nor a rule")
    if text.strip() in PRESETS:
        return [rule for each in PRESETS[text.strip()] for rule in _read(each)]
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise _refused(text, "it cannot be read")
    if match["value"] not in VALUES and match["value"] not in STATUSES:
        raise _refused(text, f"there is no value, status or set {match['value']!r}")
    limit = _number(text, match["limit"])
    if limit is not None and match["share"]:
        limit /= 100
    return [
        AlertRule(
            match["value"],
            above=limit if match["side"] == ">" else None,
            below=limit if match["side"] == "<" else None,
            of_start=bool(match["share"]),
            precision=match["precision"] or "",
            layers=match["layers"] or "",
            stop=bool(match["stop"]),
            written=text.strip(),
        )
    ]


def _number(rule: str, text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise _refused(rule, f"{text!r} is not a number") from None


def _refused(rule: Any, why: str) -> OptionError:
    """Return an error that quotes what the user has written."""
    rule = rule.written or rule if isinstance(rule, AlertRule) else rule
    return OptionError(
        f'alerts: expected rules such as "alpha_ratio > 1.2", "stable_rank < 20% of start", "stop if non_finite", got '
        f"{rule!r}: {why}. Values: {', '.join(VALUES)}. Statuses: {', '.join(STATUSES)}. Sets: {', '.join(PRESETS)}."
    )


assert set(STATUSES) <= set(get_args(Status))
