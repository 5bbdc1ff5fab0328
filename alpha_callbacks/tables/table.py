"""Rows (one layer x one precision) and the table they make."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.spread import alpha_spread
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.estimators.verdict import Tail
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.statistics import PrecisionSummary, summary_of
from alpha_callbacks.tables.table_html import Line, table_html
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.layer_names import UPDATE_CATEGORY
from alpha_callbacks.weights.modalities import group_of

if TYPE_CHECKING:
    import pandas

Status = Literal[
    "ok", "degenerate", "rank_deficient", "unchanged", "non_finite", "too_small", "unsupported", "failed", "skipped"
]
Method = Literal["computed", "certified", "lossless", "bounded", ""]

SINGLE = "gram_fp32"  # the solver of `--solver fast`; that of `solvers.spectrum`, whose import takes torch
SINGLE_ESTIMATED = "gram_fp32 (error estimated)"  # read from a file of a version that did not prove its errors


@dataclass(frozen=True)
class Row:
    """Alpha of one layer at one precision.

    Attributes:
        layer_name: module path without ".weight".
        category: see `categories`.
        block: index of the transformer block, None outside blocks.
        out_features: rows of the weight.
        in_features: columns of the weight.
        stored_dtype: how the source holds it.
        tied_to: layer that owns the same storage, or "".
        precision: canonical name of the format.
        status: "ok", or why alpha is nan.
        reason: one sentence for a status that is not "ok".
        alpha: tail exponent.
        alpha_null: the same for pure noise of this shape.
        alpha_error_bound: |error| of alpha: proved for one without a decomposition of its own (0 lossless, > 0 bounded
            and certified), nan for a computed one; each that fp32 arithmetic has solved brings its own, proved too.
        k_used: tail size.
        n_eigs: number of eigenvalues.
        threshold: "next" or "last".
        method: "computed", "lossless" (same bits), "bounded" (proved close, value shared) or "certified" (a value of
            its own, from the eigenvectors of the stored matrix, with a proved bound).
        solver: what decomposed the matrix.
        x_min: threshold eigenvalue (weight squared).
        stderr: (alpha - 1) / sqrt(k), i.i.d. guide.
        ks_distance: Kolmogorov-Smirnov distance of the tail.
        spectral_norm: largest singular value.
        frobenius_norm: root of the sum of squares.
        overflow: finite weights beyond the largest number of the format.
        underflow: non-zero weights that the format turns into 0.
        relative_error: ||W - Q(W)||_F / ||W||_F.
        spectral_error: ||W - Q(W)||_2 / ||W||_2; measured for formats below 16 bits, nan for casts to wider ones.
        effective_bits: bits of one weight, scales included.
        relative_size: of an update, ||W - W0||_F / ||W0||_F; nan for weights, and where W0 is not known.
        source_name: what the source calls the layer, "" where that is `layer_name`.
        modality: "vision", "audio" or "text" in a model with several; "" in its language part and in others.
        tail: "clear", "doubtful" or "none": whether there is the tail that alpha describes; "" where there is no alpha.
        tail_reason: why the tail is not clear, or "".
        estimates: what other estimators, if any were asked for, make of the same spectrum, in the order asked.
        measures: further measures that were asked for: name -> value, see `estimators.spectral_measures`.
        measures_reason: which groups of them have no values and why, or "".
    """

    layer_name: str
    category: str
    block: int | None
    out_features: int
    in_features: int
    stored_dtype: str
    tied_to: str
    precision: str
    status: Status
    reason: str = ""
    alpha: float = math.nan
    alpha_null: float = math.nan
    alpha_error_bound: float = math.nan
    k_used: int = 0
    n_eigs: int = 0
    threshold: str = "next"
    method: Method = ""
    solver: str = ""
    x_min: float = math.nan
    stderr: float = math.nan
    ks_distance: float = math.nan
    spectral_norm: float = math.nan
    frobenius_norm: float = math.nan
    overflow: int = 0
    underflow: int = 0
    relative_error: float = math.nan
    spectral_error: float = math.nan
    effective_bits: float = math.nan
    relative_size: float = math.nan
    source_name: str = ""
    modality: str = ""
    tail: Tail = ""
    tail_reason: str = ""
    estimates: tuple[TailEstimate, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict, hash=False)
    measures_reason: str = ""

    @property
    def group(self) -> str:
        """What means and charts put together: the category within its modality, e.g. "vision_attn_q"."""
        return group_of(self.category, self.modality)

    @property
    def ok(self) -> bool:
        """True if alpha is a number to use."""
        return self.status == "ok"

    @property
    def is_update(self) -> bool:
        """True for a change of a weight, False for a weight."""
        return self.category.endswith(UPDATE_CATEGORY)

    @property
    def alpha_ratio(self) -> float:
        """Alpha / alpha_null: 1 = indistinguishable from noise, smaller = heavier tail."""
        return self.alpha / self.alpha_null

    @property
    def alpha_spread(self) -> float:
        """Standard deviation of alpha over other draws of the noise in the matrix, see `estimators.spread`."""
        return alpha_spread(self.alpha, self.k_used, self.n_eigs)

    def alpha_of(self, estimator: str) -> float:
        """Return the alpha of another estimator; nan where it has none or was not asked."""
        return next((fit.alpha for fit in self.estimates if fit.estimator == estimator), math.nan)

    @property
    def stable_rank(self) -> float:
        """||W||_F^2 / ||W||_2^2."""
        return (self.frobenius_norm / self.spectral_norm) ** 2 if self.spectral_norm > 0 else math.nan

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in dB, -20 log10(relative_error); inf where nothing is lost."""
        return -20 * math.log10(self.relative_error) if self.relative_error else math.inf


def flat(row: Row) -> dict[str, Any]:
    """Return the fields of a row, with those of its estimates and its measures as fields of their own."""
    beside = ("estimates", "measures", *(() if row.measures_reason else ("measures_reason",)))
    found = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in beside}
    for estimate in row.estimates:
        values = asdict(estimate)
        name, more = values.pop("estimator"), values.pop("more")
        found |= {f"{name}_{key}": value for key, value in {**values, **more}.items()}
    return {**found, **row.measures}


@dataclass(frozen=True)
class LayerRows:
    """All precisions of one layer."""

    rows: tuple[Row, ...]

    def __getitem__(self, precision: str) -> Row:
        """Return the row of this precision."""
        return next(row for row in self.rows if row.precision == precision)

    @property
    def first(self) -> Row:
        """Any row, for what all share: name, category, shape."""
        return self.rows[0]

    def drift(self, precision: str, reference: str) -> float:
        """Return alpha(precision) - alpha(reference); nan where only a bound is known (`drift_bound`)."""
        row, base = self[precision], self[reference]
        difference, error = row.alpha - base.alpha, self._error(row, base)
        return math.nan if error and abs(difference) <= error else difference

    def drift_bound(self, precision: str, reference: str) -> float:
        """Return a bound of |drift| where no drift was measured, else nan.

        That is so where the difference is not above the errors of both values, as far as these are proved:
        of a shared value, which differs by nothing, always.
        """
        row, base = self[precision], self[reference]
        difference, error = abs(row.alpha - base.alpha), self._error(row, base)
        return difference + error if error and difference <= error and precision != reference else math.nan

    @staticmethod
    def _error(row: Row, base: Row) -> float:
        """Return how far the difference of two alphas may be from the true one; 0 where that is beyond printing."""
        if {row.method, base.method} <= {"lossless", "bounded"}:  # of one decomposition, whose own error they share
            return sum(r.alpha_error_bound for r in (row, base) if r.method == "bounded")
        known = [r for r in (row, base) if not math.isnan(r.alpha_error_bound)]
        computed = max((r.alpha_error_bound for r in known if r.method == "computed"), default=0.0)
        return max(2 * computed, sum(r.alpha_error_bound for r in known))


@dataclass(frozen=True, repr=False)
class Table:
    """Layers in module order, each with one row per precision in the order asked.

    Attributes:
        layers: one entry per layer.
        precisions: canonical names.
        model: name of the model, for headings; "" where it is not known.
    """

    layers: tuple[LayerRows, ...]
    precisions: tuple[str, ...]
    model: str = ""

    @classmethod
    def from_rows(cls, rows: Iterable[Row], precisions: tuple[str, ...], model: str = "") -> "Table":
        """Group rows by layer, keeping their order."""
        grouped: dict[str, list[Row]] = {}
        for row in rows:
            grouped.setdefault(row.layer_name, []).append(row)
        return cls(tuple(LayerRows(tuple(group)) for group in grouped.values()), precisions, model)

    def __iter__(self) -> Iterator[Row]:
        """Iterate over all rows."""
        return (row for layer in self.layers for row in layer.rows)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @property
    def surely(self) -> str:
        """How sure error bounds are: "provably", or "by an estimate" of an earlier version."""
        return "by an estimate" if any(row.solver == SINGLE_ESTIMATED for row in self) else "provably"

    @lazy_property
    def reference(self) -> str:
        """The precision that drift is measured from: the finest one asked for."""

        def coarseness(name: str) -> tuple[float, float]:
            precision = get_precision(name)
            return precision.eps or math.inf, -precision.bits

        return min(self.precisions, key=coarseness)  # of equals the first

    @lazy_property
    def estimators(self) -> tuple[str, ...]:
        """The other estimators whose fits the rows have, in the order asked."""
        return tuple(dict.fromkeys(fit.estimator for row in self for fit in row.estimates))

    def tails(self) -> dict[str, int]:
        """Return verdict -> number of layers with it at the reference precision; empty where nothing was judged."""
        found = Counter(layer[self.reference].tail for layer in self.main.layers)
        return {tail: found[tail] for tail in ("clear", "doubtful", "none")} if found.keys() - {""} else {}

    def to_frame(self, style: Literal["", "weightwatcher"] = "") -> "pandas.DataFrame":
        """Return a pandas DataFrame, one row per layer and precision, with the fields of `Row` as columns.

        Estimates and measures that were asked for have columns of their own: `csn_alpha`, `csn_low`, `num_spikes`, ...

        Args:
            style: "weightwatcher": one row per layer, at the reference precision, under WeightWatcher's names
                (docs/from_weightwatcher.md).

        Raises:
            OptionError: an unknown style, or "weightwatcher" of rows without the estimator csn.
        """
        import pandas

        if style == "weightwatcher":
            from alpha_callbacks.tables.weightwatcher_style import weightwatcher_rows

            rows = (layer[self.reference] for layer in self.layers)
            return pandas.DataFrame(
                weightwatcher_rows(
                    [{**flat(row), "stable_rank": row.stable_rank, "measures": row.measures} for row in rows]
                )
            )
        if style:
            raise OptionError(f'style: expected "" or "weightwatcher", got {style!r}.')

        derived = ("alpha_ratio", "alpha_spread", "stable_rank", "sqnr_db")
        return pandas.DataFrame([{**flat(row), **{name: getattr(row, name) for name in derived}} for row in self])

    def __repr__(self) -> str:
        """Return a line, not thousands of rows: those are in `to_frame`."""
        model = f"{self.model}: " if self.model else ""
        lost = len({row.layer_name for row in self if not row.ok})
        failed = f", {lost} with a row without alpha" if lost else ""
        return f"<Table {model}{len(self)} layers at {', '.join(self.precisions)}{failed}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.html()

    def html(self, note: str = "") -> str:
        """Return a summary, the heaviest layers and what failed as HTML, with a note below the heading."""
        rows = [layer[self.reference] for layer in self.heaviest()]
        lost = [row for row in self if not row.ok]
        return table_html(
            f"alpha-Hill{' of ' * bool(self.model)}{self.model}",
            f"{len(self):,} layer{'s' * (len(self) != 1)} at {', '.join(self.precisions)}",
            self.summaries(),
            [Line((row.layer_name, row.group), (row.alpha, row.alpha_ratio)) for row in rows],
            [Line((row.layer_name, row.precision, row.status, row.reason)) for row in lost],
            note=note,
        )

    @lazy_property
    def weights(self) -> "Table":
        """The layers that are weights, without the updates of weights."""
        return replace(self, layers=tuple(layer for layer in self.layers if not layer.first.is_update))

    @lazy_property
    def updates(self) -> "Table":
        """The layers that are updates of weights, without the weights."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer.first.is_update))

    @property
    def main(self) -> "Table":
        """What means and lists are about: the weights, or the updates where there is nothing else."""
        return self.weights if self.weights.layers else self

    def alphas(self, precision: str) -> list[float]:
        """Return the usable alphas of one precision: those of weights, or of updates where there is nothing else."""
        return [row.alpha for row in self.main if row.precision == precision and row.ok]

    def summaries(self) -> list[PrecisionSummary]:
        """Return one summary per precision, in the order asked. Rows that are not ok take no part."""
        return [summary_of(name, self.alphas(name), len(self.main)) for name in self.precisions]

    def heaviest(self, count: int = 5) -> list[LayerRows]:
        """Return the layers with the smallest alpha_ratio at the reference: heaviest tails for their shape.

        Only layers whose tail is clear take part; those of older results, which say nothing of it, all do.
        """
        usable = [layer for layer in self.main.layers if layer[self.reference].ok]
        usable = [layer for layer in usable if layer[self.reference].tail in ("clear", "")]
        return sorted(usable, key=lambda layer: layer[self.reference].alpha_ratio)[:count]

    def most_drifted(self, count: int = 5) -> list[tuple[LayerRows, str, float]]:
        """Return (layer, precision, drift) of the largest measured drifts from the reference precision."""
        drifts = [
            (layer, name, layer.drift(name, self.reference))
            for layer in self.main.layers
            for name in self.precisions
            if name != self.reference
        ]
        measured = [entry for entry in drifts if entry[2] and not math.isnan(entry[2])]
        return sorted(measured, key=lambda entry: -abs(entry[2]))[:count]
