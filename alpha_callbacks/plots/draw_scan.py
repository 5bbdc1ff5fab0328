"""Table -> charts as files."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.foreign_text import distinct, safe_file_name
from alpha_callbacks.plots.batch import plot_batch
from alpha_callbacks.plots.category import plot_category
from alpha_callbacks.plots.distribution import one_shape, plot_distribution
from alpha_callbacks.plots.elements.canvas import check_formats, save, style
from alpha_callbacks.plots.esd_plot import plot_esd
from alpha_callbacks.plots.experts import EXPERT_VALUES, plot_experts
from alpha_callbacks.plots.heatmap import plot_heatmap
from alpha_callbacks.plots.hill_plot import plot_hill
from alpha_callbacks.plots.layer import LayerCharts
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.expert_grid import expert_grid
from alpha_callbacks.tables.standing_out import standing_out
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

FEW = 40  # up to so many layers, every chart is drawn unasked
MOST_SINGLE = 1000  # beyond so many layers, experts have no chart each: those of categories and experts show them

_Chart = tuple[str, Callable[[], tuple[Figure, Any]]]  # name of the file, and what draws it


def draw_all(
    table: Table,
    directory: Path,
    *,
    formats: Sequence[str] = ("png",),
    max_layers_per_plot: int = 20,
    every_layer: bool = True,
    spectra: Mapping[str, Mapping[str, Any]] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the charts of a table.

    Args:
        table: the rows.
        directory: made if needed; files of the same name are replaced.
        formats: some of "png", "pdf", "svg".
        max_layers_per_plot: layers in one combined chart.
        every_layer: draw a chart of each layer and combined charts of them, which else only up to 40 layers have, and
            the map of alpha at each precision.
        spectra: layer -> precision -> eigenvalues, of what is kept; layers that stand out get charts of them.
        on_progress: called with (charts written, charts in all) after each chart.

    Returns:
        The files written: individual_layers/layer_001_<name>, combined_batch_<i>, standing_out/spectrum_<name> and
        hill_<name>, category_<category>, alpha_distribution_by_precision, heatmap_alpha_<precision>,
        heatmap_alpha_ratio_<reference>, heatmap_relative_error_<format below 16 bits>; of a mixture of experts also
        experts_alpha_<reference> and experts_alpha_ratio_<reference>.

    Raises:
        OptionError: unknown format.
    """
    check_formats(formats)
    single = with_own_chart(table, every_layer)
    size = max(1, max_layers_per_plot)
    batches = [single[i : i + size] for i in range(0, len(single), size)]
    charts: list[_Chart] = [
        *_of_layers(table, single),
        *_of_spectra(table, spectra or {}),
        *_of_categories(table, every_layer),
        *((f"combined_batch_{i}", partial(plot_batch, b, table, i, len(batches))) for i, b in enumerate(batches, 1)),
        ("alpha_distribution_by_precision", partial(plot_distribution, table)),
        *_maps(table, every_layer),
    ]
    paths: list[Path] = []
    for done, (name, draw) in enumerate(charts, start=1):
        with style():  # once per chart, and never while the caller's code runs
            paths += save(draw()[0], directory / name, formats)
        if on_progress is not None:
            on_progress(done, len(charts))
    return paths


def with_own_chart(table: Table, every_layer: bool = True) -> tuple[LayerRows, ...]:
    """Return the layers that get a chart of their own.

    Charts of the hundreds of layers of a large model, or of the tens of thousands of a mixture of experts, take longer
    to draw than the scan, and nobody looks at all of them.
    """
    if not every_layer and len(table) > FEW:
        return ()
    if len(table) <= MOST_SINGLE:
        return table.layers
    return tuple(layer for layer in table.layers if not layer.first.category.startswith("moe_expert_"))


def _of_layers(table: Table, layers: Sequence[LayerRows]) -> Iterator[_Chart]:
    charts = LayerCharts(table)
    for i, layer in enumerate(layers, start=1):
        yield f"individual_layers/layer_{i:03d}_{safe_file_name(layer.first.layer_name)}", partial(charts.draw, layer)


def _of_spectra(table: Table, spectra: Mapping[str, Mapping[str, Any]]) -> Iterator[_Chart]:
    """Yield spectrum and Hill plot of the layers that stand out, at the reference."""
    layers = standing_out(table)
    files = distinct((layer.first.layer_name for layer in layers), safe_file_name)
    for layer in layers:
        name, row = layer.first.layer_name, layer[table.reference]
        try:
            evals = spectra[name][table.reference]
        except KeyError:  # not kept
            continue
        except SpectrumError as error:
            _log.warning("alpha-Hill: no chart of a spectrum: %s", error)
            continue
        yield f"standing_out/spectrum_{files[name]}", partial(plot_esd, evals, row)
        yield f"standing_out/hill_{files[name]}", partial(plot_hill, evals, row)


def _of_categories(table: Table, every_layer: bool) -> Iterator[_Chart]:
    layers = Counter(layer.first.group for layer in table.layers)
    for category in layers:
        if layers[category] == 1 and len(table) > FEW and not every_layer:
            continue  # a single bar says no more than the number in the notes of a map
        yield f"category_{safe_file_name(category)}", partial(plot_category, table, category)
    for value in EXPERT_VALUES if expert_grid(table.layers) else ():
        yield f"experts_{value}_{safe_file_name(table.reference)}", partial(plot_experts, table, value)


def _maps(table: Table, every_layer: bool) -> Iterator[_Chart]:
    """Yield maps of errors below 16 bits and of alpha / noise; of alpha too where all have one shape."""
    names = distinct(table.precisions, safe_file_name)
    for precision in [name for name in table.precisions if get_precision(name).low_bit]:
        error = partial(plot_heatmap, table, "relative_error", precision)
        yield f"heatmap_relative_error_{names[precision]}", error
    ratio = partial(plot_heatmap, table, "alpha_ratio", table.reference)
    yield f"heatmap_alpha_ratio_{names[table.reference]}", ratio
    for precision in table.precisions if every_layer else [table.reference] * one_shape(table):
        yield f"heatmap_alpha_{names[precision]}", partial(plot_heatmap, table, "alpha", precision)
