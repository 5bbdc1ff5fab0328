"""A training history -> history.html."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alpha_callbacks.comparison.history_estimators import chosen_estimators, estimator_findings
from alpha_callbacks.comparison.history_findings import history_findings
from alpha_callbacks.comparison.history_series import Series, by_category, change, folded, thinned
from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.comparison.run_losses import read_losses
from alpha_callbacks.report.packing import coded, packed
from alpha_callbacks.report.page_shell import Section, Tile, fill, headline, render_page
from alpha_callbacks.report.standouts import middle, signed_text
from alpha_callbacks.tables.statistics import TOO_FEW
from alpha_callbacks.utils.model_names import model_name

HISTORY_PAGE = "history.html"

_MOST_LAYERS = 600  # lines; larger models show the median of each category and block
_MOST_VALUES = 400_000  # in one page; they take 4.3 MB
_FEWEST_STEPS = 50
_LIKE_NOISE = 0.85  # alpha / alpha of noise: fresh weights have 1, whatever their shape


def history_page(
    history: AlphaHistory, *, precision: str | None = None, estimators: Sequence[str] | None = None
) -> str:
    """Return the page of a training run as one HTML file below 10 MB, regardless of the length of the run.

    Args:
        history: from `read_history`.
        precision: the precision shown first; None: the reference.
        estimators: other fits that can be shown in place of alpha-Hill; None: all that the history has.

    Raises:
        OptionError: the run has no such precision, or no such fits.
    """
    first, others = precision or history.reference, chosen_estimators(history, estimators or ())
    others = others if estimators is None or estimators else ()
    names = tuple(dict.fromkeys((first, *history.precisions)))
    places = [(name, "alpha") for name in names] + [(name, f"{each}_alpha") for name in names for each in others]
    shown = [_shown(history, *place, of=len(places)) for place in places]
    one = shown[0]
    data = {
        "name": list(one.layers),
        "label": list(one.labels),
        "category": coded(one.categories),
        "block": list(one.blocks),
        "steps": list(one.steps),
        "precisions": [*names, *(f"{name}, {each}" for name in names for each in others)],
        "alpha": [packed(each.values.ravel(), "f8") for each in shown],
        "by_hill": len(names),
        "tail": _tails(history, one, first),
        "alpha_null": packed(_noise(history, first), "f8"),
        "trained": _trained(history, first),
        "losses": {name: list(zip(*points, strict=True)) for name, points in read_losses(history.path.parent).items()},
    }
    notes = _notes(history, one)
    told = [*history_findings(history, first), *estimator_findings(history, others, first)]
    head = headline(_tiles(history, one), [*told, *notes])
    sections = [
        Section("summary", "Summary", head),
        Section("map", "Layers over steps", fill("history_map.html"), data=data, intro=_MAP),
        Section("lines", "Categories", fill("history_lines.html"), intro=_LINES),
        Section("layers", "Layers", fill("history_table.html")),
    ]
    folder = history.path.resolve().parent
    return render_page(
        model_name(folder.parent if folder.name == "alpha_hill" else folder),
        sections,
        kind="alpha-Hill over training",
        subtitle=f"{len(history.layers):,} layers at {', '.join(history.precisions)}, {_states(history)}",
        scripts=("table.js", "history.js"),
        styles=("states.css",),
    )


_MAP = (
    "One row per layer, by category and block; one column per measured state. Drag to zoom in and double-click to zoom "
    "out."
)
_LINES = (
    "One line per layer: blocks from dark (first) to bright (last), layers outside blocks in other colours. The loss "
    "comes first where the run has logged it."
)


def _shown(history: AlphaHistory, precision: str, value: str, *, of: int) -> Series:
    """Return one of `of` series on the page."""
    series = by_category(folded(history.series(precision, value), _MOST_LAYERS))
    return thinned(series, max(_FEWEST_STEPS, _MOST_VALUES // (len(series) * of)))


def _noise(history: AlphaHistory, precision: str) -> np.ndarray:
    """Return alpha_null of every line, taken from its last state that has one."""
    alpha, ratio = history.series(precision), history.series(precision, "alpha_ratio")
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = replace(alpha, values=alpha.values / ratio.values)
    shown = by_category(folded(noise, _MOST_LAYERS)).values
    finite = [row[np.isfinite(row)] for row in shown]
    return np.array([row[-1] if row.size else math.nan for row in finite])


def _trained(history: AlphaHistory, precision: str) -> bool:
    """Return whether the weights were trained when the run began: then its changes say more than its alphas."""
    first = history.series(precision, "alpha_ratio").values[:, 0]
    known = first[np.isfinite(first)]
    return bool(known.size and np.median(known) < _LIKE_NOISE)


def _tails(history: AlphaHistory, shown: Series, precision: str) -> list[str]:
    """Return the last verdict on the tail of every line; "" for the median of several layers."""
    frame = history.frame
    frame = frame[(frame["precision"] == precision) & (frame["tail"] != "")]
    last = {str(name): str(tail) for name, tail in zip(frame["layer_name"], frame["tail"], strict=True)}
    return [last.get(name, "") for name in shown.layers]


def _notes(history: AlphaHistory, shown: Series) -> list[str]:
    notes = []
    if len(shown) < len(history.layers):
        notes.append(f"{len(history.layers):,} layers are shown as {len(shown):,} medians per category and block.")
    if len(shown.steps) < len(history.steps):
        notes.append(f"{len(shown.steps):,} of {len(history.steps):,} states are shown, evenly chosen.")
    return notes


def _tiles(history: AlphaHistory, shown: Series) -> list[Tile]:
    moved = change(shown).values
    last = [float(row[np.isfinite(row)][-1]) for row in moved if np.isfinite(row).any()]
    tiles = [Tile(f"{len(history.layers):,}", "layers"), Tile(f"{len(history.steps):,}", "measured states")]
    if last and len(history.steps) > 1:
        median = "median " if len(last) >= TOO_FEW else ""
        tiles.append(Tile(middle(last, signed_text), f"{median}change of alpha, first to last"))
    holes = int(np.isnan(shown.values).sum())
    return [*tiles, Tile(f"{holes:,}", "gaps: not measured, or no alpha", True)] if holes else tiles


def _states(history: AlphaHistory) -> str:
    steps = history.steps
    return f"steps {steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else f"step {steps[0]:,}"
