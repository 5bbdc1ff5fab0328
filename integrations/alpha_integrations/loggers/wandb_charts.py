"""The layers to look at first as W&B's own bar charts: interactive, and several runs side by side."""

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_integrations.loggers.logger_rows import unique_names

# A panel of W&B is about 400 x 250 pixels, its preset draws every label: more than this run through each other. A chart
# of all blocks, or of all layers, is therefore an image.
MOST_BARS = 10
_LABEL = "layer"


def bar_charts(snapshot: Snapshot) -> dict[str, Any]:
    """Return key -> `wandb.plot.bar` of the largest errors, the heaviest clear tails and the largest moves.

    W&B shows the chart logged last, so its title has the step. Bars are in the order of the model, not of their
    values: the same layer has the same label in every run and at every step. They carry the names of the keys
    `alpha_hill_layers_<precision>/<layer>`.
    """
    import wandb

    names = _labels(snapshot)
    charts: dict[str, Any] = {}
    for key, title, column, values in _values(snapshot):
        rows = sorted((visible(names[name]), value) for name, value in values.items() if math.isfinite(value))
        if rows:
            table = wandb.Table(columns=[_LABEL, column], data=[list(row) for row in rows])
            charts[f"alpha_hill/{key}"] = wandb.plot.bar(table, _LABEL, column, title=visible(title), split_table=True)
    return charts


def _values(snapshot: Snapshot) -> Iterable[tuple[str, str, str, Mapping[str, float]]]:
    """Yield key, title, name of the axis, and layer -> value."""
    table, step = snapshot.table, f"step {snapshot.step}"
    if snapshot.low_bit:
        name = snapshot.low_bit[-1]
        errors = {row.layer_name: 100 * row.relative_error for row in table.main if row.precision == name}
        errors = {layer: error for layer, error in errors.items() if math.isfinite(error)}
        middle = median(errors.values()) if errors else math.nan
        largest = sorted(errors, key=lambda layer: -errors[layer])[:MOST_BARS]
        # Errors of one format are alike: bars from 0 would be of one length.
        above = {layer: errors[layer] - middle for layer in largest}
        title = f"Largest errors at {name}, median {middle:.3g} %, {step}"
        yield "largest_errors", title, "percentage_points_above_median", above
    ratios = {layer.first.layer_name: layer[table.reference].alpha_ratio for layer in table.heaviest(MOST_BARS)}
    yield "heaviest_tails", f"Heaviest clear tails, {step}", "alpha_by_alpha_of_noise", ratios
    if snapshot.earlier is not None:
        moves = {move.layer_name: move.size for move in snapshot.moves[:MOST_BARS]}
        title = f"Largest moves of alpha, step {snapshot.earlier.step} to {snapshot.step}"
        yield "largest_moves", title, "change_of_alpha", moves


def _labels(snapshot: Snapshot) -> dict[str, str]:
    layers = snapshot.table.layers
    return {layer.first.layer_name: name for layer, name in zip(layers, unique_names(layers), strict=True)}
