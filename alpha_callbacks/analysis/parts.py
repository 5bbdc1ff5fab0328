"""Where a long matrix is cut, so that workers who are free help with it: by its shape alone."""

import math

from alpha_callbacks.weights.weight import ROW_BLOCK_MULTIPLE, Weight, span_length

_PART = 2**33  # multiplications in an fp64 product that are worth a part: a fifth of a second or more of one core
_SQUARES = 4  # and no part is shorter than so many squares, since each takes a Gram matrix of its own


def part_length(weight: Weight) -> int:
    """Return the length of the parts on the long side, but for the last one: all of it where there is only one."""
    long, n = max(weight.out_features, weight.in_features, 1), max(weight.n_eigs, 1)
    step = span_length(n, multiple=ROW_BLOCK_MULTIPLE)
    length = math.ceil(max(_SQUARES * n, _PART / n**2) / step) * step
    return length if long >= 2 * length else long


def part_count(weight: Weight) -> int:
    """Return how many parts a weight has."""
    return math.ceil(max(weight.out_features, weight.in_features) / part_length(weight))


def row_parts(weight: Weight) -> list[tuple[int, int]]:
    """Return (first, last) of the rows that a pass over the entries takes at a time: one block, if there are parts.

    Such a pass keeps a line of numbers, not a Gram matrix, so its parts can be shorter than those of products.
    """
    rows = weight.out_features
    step = span_length(weight.in_features, multiple=ROW_BLOCK_MULTIPLE) if part_count(weight) > 1 else max(rows, 1)
    return [(first, min(first + step, rows)) for first in range(0, rows, step)]
