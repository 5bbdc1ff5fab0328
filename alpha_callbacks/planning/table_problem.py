"""A table and options -> what a policy decides about, what it needs, and what it would choose."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.kept_layers import all_kept, choice_of, sixteen_bit_format
from alpha_callbacks.planning.knapsack import TOLERANCE
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_problem import HIGH, PlanProblem
from alpha_callbacks.planning.policies import alphaq_costs, budget_reasons, measured_costs, middle, spend
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.recommendation import Advice, Correlation, PolicyComparison
from alpha_callbacks.planning.thresholds import Protect, Thresholds
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.results_folder import ResultsFolder, table_of
from alpha_callbacks.tables.statistics import spearman
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.stored_dtype import is_quantized

POLICIES = ("measured", "fisher", "alphaq", "thresholds")
_PROTECTS: dict[str, Protect] = {"thresholds": "high-alpha", "alphaq": "low-alpha"}  # each as its authors have it
_USUAL = {8: "fp8_e4m3", 4: "int4_g32"}  # of "thresholds", where none of that size was scanned


def pose(
    table: Table | str | Path,
    options: RecommendOptions | None = None,
    *,
    fisher: Mapping[str, float] | None = None,
    model: str = "",
) -> "TableProblem":
    """Return what is to be decided about results, see `recommend.recommend`.

    Raises:
        PlanError: only updates, quantized weights, or no candidate that fits the columns of any layer.
        OptionError: neither a table nor a path.
        ResultsError: a path without results, or with a damaged file.
    """
    if isinstance(table, str | Path):
        model = model or ResultsFolder(table).source
    table = table_of(table, "results").weights
    if not table.layers:
        raise PlanError(
            "results: expected weights to plan for, got updates of weights alone. Scan the model, or the adapter with "
            "--base."
        )
    _refuse_quantized(table)
    return TableProblem.of(table, options or RecommendOptions(), fisher, model)


@dataclass(frozen=True)
class TableProblem:
    """The table, divided into layers that are decided about and layers that are kept by rule."""

    table: Table
    options: RecommendOptions
    fisher: Mapping[str, float] | None
    kept: Mapping[str, str]  # layer name -> why
    about: PlanProblem
    measured: tuple[str, ...]  # low-bit formats that were scanned and are candidates
    model: str  # where the weights came from

    @classmethod
    def of(
        cls, table: Table, options: RecommendOptions, fisher: Mapping[str, float] | None, model: str
    ) -> "TableProblem":
        """Divide the layers of a table into those that are decided about and those that are kept."""
        scanned = [name for name in table.precisions if get_precision(name).low_bit]
        names = options.candidates if options.candidates is not None else tuple(scanned)
        kept = all_kept(table, options)
        layers = [layer for layer in table.layers if layer.first.layer_name not in kept]
        if not layers:
            raise PlanError("results: expected layers to quantize, all are kept by rule. Loosen --keep.")
        highs = [sixteen_bit_format(layer) for layer in layers]
        choices = [choice_of(layer, high) for layer, high in zip(layers, highs, strict=True)]
        measured = tuple(name for name in names if name in scanned)
        usable = [
            layer[table.reference].ok and (not measured or any(layer[name].ok for name in measured)) for layer in layers
        ]
        groups = units(choices, tied=not options.untied)
        about = PlanProblem(layers, groups, (*names, HIGH), table.reference, usable, highs)
        _require_fit(about)
        return cls(table, options, fisher, kept, about, measured, model)

    @lazy_property
    def _by_name(self) -> dict[str, LayerRows]:
        return {layer.first.layer_name: layer for layer in self.table.layers}

    @lazy_property
    def _decided(self) -> dict[str, int]:
        return {layer.first.layer_name: i for i, layer in enumerate(self.about.layers)}

    def lacks(self, policy: str) -> str:
        """Return what a policy needs and is not there, or ""."""
        candidates = self.about.candidates[:-1]
        if policy == "thresholds":
            named = self.options.candidates is not None
            lost = [bits for bits in (8, 4) if named and not self._of_size(bits)]
            return (
                f"a candidate of {lost[0]} bits, got {', '.join(candidates)}. Name one of 8 and one of 4"
                if lost
                else ""
            )
        if not candidates:
            return f"low-bit formats to choose from, the results have none. {self._scan(('fp8', 'int4'))}"
        if policy == "alphaq":
            return ""
        if absent := [name for name in candidates if name not in self.measured]:
            return f"a column of {absent[0]}, the results have none. {self._scan(absent)}"
        return (
            "sensitivities. Give --sensitivity fisher --calibration FILE"
            if policy == "fisher" and not self.fisher
            else ""
        )

    def _scan(self, absent: Sequence[str]) -> str:
        """Say how to measure formats that were not scanned."""
        precisions = ",".join([*self.table.precisions, *absent])
        return f"Run: alpha-hill scan {shlex.quote(self.model) if self.model else 'MODEL'} -p {precisions}"

    def require(self, policy: str) -> None:
        """Raise PlanError if something that a policy needs is not there."""
        if lacking := self.lacks(policy):
            raise PlanError(f"policy {policy}: expected {lacking}.")

    def budget(self) -> float:
        """Return the mean of bits that is asked for, or half way between the coarsest and the finest candidate."""
        if self.options.avg_bits is not None:
            return self.options.avg_bits
        return middle(self.about)

    def decide(self, policy: str, budget: float | None) -> tuple[list[str], list[str]]:
        """Return (candidate, reason) of each layer that is decided about."""
        options, about = self.options, self.about
        if policy == "thresholds":
            protect = options.protect or _PROTECTS[policy]
            eight, four = (self._of_size(bits) or usual for bits, usual in _USUAL.items())
            rule = Thresholds(options.bounds, options.variation, eight, four, protect)
            return rule.decide(about)
        assert budget is not None
        costs = self.costs(policy)
        slack = TOLERANCE if options.avg_bits is not None or options.policy == "thresholds" else math.inf
        chosen = spend(about, costs, budget, slack=slack)
        return chosen, budget_reasons(about, chosen)

    def costs(self, policy: str) -> np.ndarray:
        """Return what a policy with a budget minimizes, shape (layers, candidates); nan where it knows none."""
        if policy == "alphaq":
            protect = self.options.protect or _PROTECTS[policy]
            return alphaq_costs(self.about, gamma=self.options.gamma, protect=protect)
        return measured_costs(self.about, fisher=self.fisher if policy == "fisher" else None)

    def _of_size(self, bits: int) -> str:
        """Return the first candidate with codes of so many bits, or ""."""
        return next((name for name in self.about.candidates[:-1] if round(get_precision(name).bits) == bits), "")

    def plan(self, policy: str, budget: float | None, chosen: list[str], reasons: list[str]) -> Plan:
        """Return the plan of all layers."""
        names = [layer.first.layer_name for layer in self.about.layers]
        decided = dict(zip(names, zip(chosen, reasons, strict=True), strict=True))
        choices = []
        for layer in self.table.layers:
            name, high = layer.first.layer_name, sixteen_bit_format(layer)
            if name in self.kept:
                choices.append(choice_of(layer, high, reason=self.kept[name], budgeted=False))
            else:
                pick, reason = decided[name]
                choices.append(choice_of(layer, high if pick == HIGH else pick, reason=reason))
        settings = {key: value for key, value in asdict(self.options).items() if value is not None and key != "policy"}
        used = {"avg_bits": budget} if budget is not None else {}
        return Plan(tuple(choices), policy, {**settings, **used, "candidates": self.about.candidates[:-1]}, self.model)

    def advice(self, choice: Choice, others: Mapping[str, list[str]]) -> Advice:
        """Return what speaks for a choice, and what other policies would have chosen."""
        layer = self._by_name[choice.layer_name]
        row, reference = layer[self.table.reference], self.table.reference
        rows = {each.precision: each for each in layer.rows}
        chosen = rows.get(choice.precision)
        at = self._decided.get(choice.layer_name)
        return Advice(
            choice=choice,
            alpha=row.alpha,
            alpha_ratio=row.alpha_ratio,
            drift=layer.drift(choice.precision, reference) if chosen is not None else math.nan,
            relative_error=chosen.relative_error if chosen is not None else math.nan,
            others={} if at is None else {name: self.about.format_of(at, picks[at]) for name, picks in others.items()},
            stuck=at in self.about.stuck,
        )

    def alternative(self, policy: str, picks: list[str], chosen: list[str]) -> PolicyComparison:
        """Return size and error of what a policy chose, beside the plan."""
        layers = range(len(picks))
        weights = sum(layer.first.out_features * layer.first.in_features for layer in self.about.layers)
        bits = sum(self.about.bits(i, picks[i]) for i in layers) / weights
        squares = [self.about.error(i, picks[i]) ** 2 for i in layers if self.about.usable[i]]
        error = math.sqrt(sum(squares) / len(squares)) if squares else math.nan
        return PolicyComparison(policy, bits, error, sum(picks[i] == chosen[i] for i in layers) / len(picks))

    def correlation(self, precision: str) -> Correlation:
        """Return how alpha ranks the layers, compared with their error at one precision."""
        pairs = [(layer[self.table.reference], layer[precision]) for layer in self.about.layers]
        both = [(row, low.relative_error) for row, low in pairs if row.ok and low.ok]
        errors = [error for _, error in both]
        alpha = spearman([row.alpha for row, _ in both], errors)
        return Correlation(precision, alpha, spearman([row.alpha_ratio for row, _ in both], errors), len(both))


def _require_fit(about: PlanProblem) -> None:
    """Refuse candidates none of which divides the columns of any layer: every layer would stay at 16 bits."""
    candidates, columns = about.candidates[:-1], sorted({layer.first.in_features for layer in about.layers})
    if candidates and not any(about.fits(i, name) for i in range(len(about.layers)) for name in candidates):
        size = math.gcd(*columns)
        size &= -size  # the largest power of two that divides all
        shown = ", ".join(map(str, columns[:4])) + (", ..." if len(columns) > 4 else "")
        raise PlanError(
            f"candidates: expected a format whose blocks divide the columns of a layer ({shown}), got "
            f"{', '.join(candidates)}. No quantizer stores such rows; scan "
            f"with {'int4:g' + str(size) if size >= 16 else 'int4:channel'} or a format with one scale per row."
        )


def _refuse_quantized(table: Table) -> None:
    """Refuse a plan for weights that have been rounded before: it would measure the second rounding only."""
    rows = [layer.first for layer in table.layers if is_quantized(layer.first.stored_dtype)]
    if rows:
        raise PlanError(
            f"results: expected float weights, {len(rows)} of {len(table.layers)} layers are quantized "
            f"({rows[0].layer_name}: {rows[0].stored_dtype}). Scan the model that it was made from."
        )
