"""Tables in the terminal, a line per row however narrow it is: names lose their middle, numbers not a digit."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import escape
from alpha_callbacks.foreign_text import visible
from alpha_callbacks.utils.labels import labels, middle_out

_READABLE = 24  # characters of a name; other columns make room until so many fit
_LEAST = 12


@dataclass(frozen=True)
class Heading:
    """A column beside the names.

    Attributes:
        title: its heading.
        expendable: left out where names have no room; of several, the last one first.
        left: its texts begin at the left, as words do; numbers end at the right.
    """

    title: str
    expendable: bool = False
    left: bool = False


def layer_table(
    out: Console,
    title: str,
    names: Sequence[str],
    headings: Sequence[Heading],
    rows: Sequence[Sequence[str]],
    *,
    of: str = "layer",
) -> RichTable:
    """Return a table that is no wider than the console, as long as the columns that are not expendable fit.

    Args:
        out: where it will be printed.
        title: above it.
        names: of the layers, as they are.
        headings: of the other columns.
        rows: their texts, one row per name; markup has to be escaped.
        of: what the names are of.
    """
    shown = [visible(name) for name in names]
    kept = list(range(len(headings)))
    wanted = min(max(map(len, shown), default=0), _READABLE)
    for at in reversed(range(len(headings))):
        if headings[at].expendable and _room(out, headings, rows, kept) < wanted:
            kept.remove(at)
    room = max(_LEAST, _room(out, headings, rows, kept))
    grid = RichTable(title=title, title_justify="left")
    grid.add_column(of, no_wrap=True)
    for at in kept:
        grid.add_column(headings[at].title, justify="left" if headings[at].left else "right", no_wrap=True)
    for label, row in zip(_fitted(shown, room), rows, strict=True):
        grid.add_row(escape(label), *(row[at] for at in kept))
    return grid


def _room(out: Console, headings: Sequence[Heading], rows: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    """Return how many characters of a line the other columns, and what separates columns, leave for names."""
    others = (max([len(headings[at].title), *(len(row[at]) for row in rows)]) for at in kept)
    return out.width - sum(others) - 3 * (len(kept) + 1) - 1


def _fitted(names: Sequence[str], room: int) -> list[str]:
    """Return names of at most `room` characters; what all long ones begin with goes first.

    Examples:
        >>> _fitted(["head", "model.layers.4.experts.44.up_proj", "model.layers.4.experts.4.up_proj"], 22)
        ['head', '44.up_proj', '4.up_proj']
    """
    long = list(dict.fromkeys(name for name in names if len(name) > room))
    short = dict(zip(long, labels(long, room), strict=True))
    return [middle_out(short.get(name, name), room) for name in names]
