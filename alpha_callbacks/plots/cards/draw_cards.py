"""Table -> pictures for the cards of a logger: one bar chart per category, and heat maps."""

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alpha_callbacks.plots.cards.card_bars import bar_card
from alpha_callbacks.plots.cards.card_heat import heat_card
from alpha_callbacks.plots.elements.canvas import styled
from alpha_callbacks.plots.elements.drift import drift_of
from alpha_callbacks.plots.elements.heat_grid import Value, make_grid
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import in_order


@styled
def draw_cards(table: Table, *, title: str = "") -> dict[str, numpy.ndarray]:
    """Draw a table as pictures for a logger.

    Args:
        table: the rows.
        title: put into every heading, such as "step 1000".

    Returns:
        Name -> pixels (height, width, 3), uint8. If there is more than one cell: with formats below 16 bits
        "heat_relative_error" (the last of them), then "heat_alpha_ratio" (alpha / alpha of noise at the reference,
        which can be compared between shapes), and if a drift was measured "heat_drift" (the last precision with a
        measured one). Then "bars_<category>" of each category present, in the order of `CATEGORIES` (of updates, if one
        has an alpha), and of updates that are not zero "heat_relative_size".
    """
    weights, updates = table.main, table.updates
    cards: dict[str, numpy.ndarray] = {}
    if len(make_grid(weights, named=False).places) > 1:  # a single cell would say nothing
        low = [name for name in weights.precisions if get_precision(name).low_bit]
        maps: tuple[tuple[Value, str], ...] = (
            ("relative_error", low[-1] if low else ""),
            ("alpha_ratio", weights.reference),
            ("drift", _last_measured(weights)),
        )
        cards = {f"heat_{value}": _pixels(heat_card(weights, value, name, title)[0]) for value, name in maps if name}
    shown = [layer for layer in table.layers if not layer.first.is_update or any(row.ok for row in layer.rows)]
    for name in in_order(layer.first.group for layer in shown):
        cards[f"bars_{name}"] = _pixels(bar_card(table, name, title)[0])
    if any(row.relative_size > 0 for row in updates):
        cards["heat_relative_size"] = _pixels(heat_card(updates, "relative_size", updates.reference, title)[0])
    return cards


def _last_measured(table: Table) -> str:
    """Return the last precision whose drift was measured in some layer, "" if there is none."""
    measured = (
        name
        for name in reversed(table.precisions)
        if name != table.reference
        and any(drift_of(layer, name, table.reference).kind == "measured" for layer in table.layers)
    )
    return next(measured, "")


def _pixels(figure: Figure) -> numpy.ndarray:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # by `new_figure`
    canvas.draw()
    return numpy.ascontiguousarray(numpy.asarray(canvas.buffer_rgba())[..., :3])
