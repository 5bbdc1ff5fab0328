"""Which layers of two tables are the same matrix."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from alpha_callbacks.tables.table import Row
from alpha_callbacks.weights.canonical_names import pairing_key
from alpha_callbacks.weights.categories import VAGUE

Rows = Mapping[str, Row | None]


def partners(ours: Rows, theirs: Rows) -> dict[str, str]:
    """Return the name in B of every layer of A that has a partner.

    Layers belong together by name; else by the names that their sources have for them; else by what is left of these
    without what libraries add, if it is unique on both sides. Where no layer inside a block has the same name on both
    (a checkpoint and its GGUF file), those left belong together by category, numbers in the name and shape, if unique.
    """
    found = {name: name for name in ours if name in theirs}
    strangers = all(row is None or row.block is None for row in (ours[name] for name in found))
    for key in (_source, _key, *((_place,) if strangers else ())):
        found |= _matched(ours, theirs, found, key)
    return found


def _matched(ours: Rows, theirs: Rows, found: Mapping[str, str], key: Callable[[str, Row], Hashable]) -> dict[str, str]:
    """Return name in A -> name in B of those without a partner yet whose key no other has."""
    taken = set(found.values())
    in_a, in_b = (dict(_unique(rows, skip, key)) for rows, skip in ((ours, found.keys()), (theirs, taken)))
    return {name: in_b[each] for each, name in in_a.items() if each in in_b and _fit(ours[name], theirs[in_b[each]])}


def _unique(rows: Rows, skip: Iterable[str], key: Callable[[str, Row], Hashable]) -> Iterator[tuple[Hashable, str]]:
    names: dict[Hashable, list[str]] = {}
    for name in rows.keys() - skip:
        row = rows[name]
        if row is not None and (each := key(name, row)) is not None:
            names.setdefault(each, []).append(name)
    return ((each, found[0]) for each, found in names.items() if len(found) == 1)


def _fit(a: Row | None, b: Row | None) -> bool:
    """Return False for other shapes; a history says none."""
    shapes = [(row.out_features, row.in_features) for row in (a, b) if row is not None and row.out_features]
    return len(set(shapes)) < 2


def _source(name: str, row: Row) -> Hashable:
    return row.source_name or name


def _key(name: str, row: Row) -> Hashable:
    return pairing_key(name)


def _place(name: str, row: Row) -> Hashable:
    numbers = tuple(re.findall(r"(?<![^.])\d+(?![^.])", name))  # block, and expert where there are some
    return None if row.category in VAGUE else (row.group, numbers, row.out_features, row.in_features)
