"""Table -> every chart as files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.batch import plot_batch
from alpha_callbacks.plots.category import plot_category
from alpha_callbacks.plots.distribution import plot_distribution
from alpha_callbacks.plots.elements.canvas import check_formats, save, style
from alpha_callbacks.plots.experts import EXPERT_VALUES, plot_experts
from alpha_callbacks.plots.heatmap import plot_heatmap
from alpha_callbacks.plots.layer import LayerCharts
from alpha_callbacks.tables.expert_grid import expert_grid
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.utils.atomic_files import safe_file_name

MOST_SINGLE = 1000  # up to so many layers, each one has its own chart


def draw_all(
    table: Table,
    directory: Path,
    *,
    formats: Sequence[str] = ("png",),
    max_layers_per_plot: int = 20,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write every chart of a table.

    Args:
        table: the rows.
        directory: made if needed; files of the same name are replaced.
        formats: some of "png", "pdf", "svg".
        max_layers_per_plot: layers in one combined chart.
        on_progress: called with (charts written, charts in all) after each chart.

    Returns:
        The files written: individual_layers/layer_001_<name>, category_<category>, combined_batch_<i>,
        alpha_distribution_by_precision, heatmap_alpha_<precision>, heatmap_alpha_ratio_<reference>; of a mixture of
        experts also experts_alpha_<reference> and experts_alpha_ratio_<reference>.

    Raises:
        OptionError: unknown format.
    """
    check_formats(formats)
    single = with_own_chart(table)
    batch_size = max(1, max_layers_per_plot)
    categories = list(dict.fromkeys(layer.first.group for layer in table.layers))
    batches = [single[i : i + batch_size] for i in range(0, len(single), batch_size)]
    experts = bool(expert_grid(table.layers))
    total = len(single) + len(categories) + len(batches) + 1 + len(table.precisions) + 1 + 2 * experts

    layer_charts = LayerCharts(table)

    def charts() -> Iterator[tuple[str, Callable[[], tuple[Figure, Sequence[Axes]]]]]:
        for i, layer in enumerate(single, start=1):
            name = f"layer_{i:03d}_{safe_file_name(layer.first.layer_name)}"
            yield f"individual_layers/{name}", partial(layer_charts.draw, layer)
        for category in categories:
            yield f"category_{safe_file_name(category)}", partial(plot_category, table, category)
        for i, batch in enumerate(batches, start=1):
            yield f"combined_batch_{i}", partial(plot_batch, batch, table, i, len(batches))
        yield "alpha_distribution_by_precision", partial(plot_distribution, table)
        for precision in table.precisions:
            yield f"heatmap_alpha_{safe_file_name(precision)}", partial(plot_heatmap, table, "alpha", precision)
        if experts:
            for value in EXPERT_VALUES:
                name = f"experts_{value}_{safe_file_name(table.reference)}"
                yield name, partial(plot_experts, table, value)
        ratio = f"heatmap_alpha_ratio_{safe_file_name(table.reference)}"
        yield ratio, partial(plot_heatmap, table, "alpha_ratio", table.reference)

    paths: list[Path] = []
    for done, (name, draw) in enumerate(charts(), start=1):
        with style():  # once per chart, and never while the caller's code runs
            paths += save(draw()[0], directory / name, formats)
        if on_progress is not None:
            on_progress(done, total)
    return paths


def with_own_chart(table: Table) -> tuple[LayerRows, ...]:
    """Return the layers that get a chart each: all, or all but experts if there are more than 1,000 layers.

    A mixture of experts has tens of thousands of matrices; charts of each would take an hour to draw. Category charts
    and maps show them by block and expert.
    """
    if len(table) <= MOST_SINGLE:
        return table.layers
    return tuple(layer for layer in table.layers if not layer.first.category.startswith("moe_expert_"))
