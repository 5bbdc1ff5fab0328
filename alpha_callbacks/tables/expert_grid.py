"""Where the experts of a mixture stand: a row for each block, a column for each expert, one grid per projection."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alpha_callbacks.tables.table import LayerRows
from alpha_callbacks.utils.labels import labels
from alpha_callbacks.weights.layer_names import expert_place

_FEWEST = 5  # experts of one block; fewer have a bar each in the chart of their category


@dataclass(frozen=True)
class ExpertGrid:
    """The routed experts of a table.

    Attributes:
        rows: one label per block: its number, with what tells it from others of this number where there are some.
        columns: number of experts.
        places: category -> (row, expert) -> layer.
    """

    rows: tuple[str, ...]
    columns: int
    places: Mapping[str, Mapping[tuple[int, int], LayerRows]]

    def __bool__(self) -> bool:
        """Return True if there are enough experts for a grid to say more than bars."""
        return self.columns >= _FEWEST


def expert_grid(layers: Iterable[LayerRows]) -> ExpertGrid:
    """Return the grid of the routed experts among these layers."""
    rows: dict[tuple[str, int | None], int] = {}
    places: dict[str, dict[tuple[int, int], LayerRows]] = {}
    columns = 0
    for layer in layers:
        first = layer.first
        place = expert_place(first.layer_name) if first.category.startswith("moe_expert_") else None
        if place is not None:
            parent, expert = place
            row = rows.setdefault((parent, first.block), len(rows))
            places.setdefault(first.group, {})[row, expert] = layer
            columns = max(columns, expert + 1)
    blocks = [block for _, block in rows]
    numbered = len(set(blocks)) == len(blocks) and None not in blocks
    return ExpertGrid(tuple(map(str, blocks) if numbered else labels([parent for parent, _ in rows])), columns, places)
