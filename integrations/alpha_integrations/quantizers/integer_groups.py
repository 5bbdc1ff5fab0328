"""Integers with a scale per group or row, in the three words that AutoRound and GPTQModel have for them."""

from collections.abc import Collection
from typing import Any

from alpha_callbacks.precisions.encoding import Encoding


def integer_entry(encoding: Encoding, bits: Collection[int]) -> dict[str, Any] | None:
    """Return {"bits", "group_size", "sym"}, group_size -1 for one scale per row; None for any other format.

    Args:
        encoding: of a format.
        bits: how many bits the target can pack.
    """
    if encoding.element != "int" or encoding.scale != "real" or encoding.bits not in bits:
        return None
    if encoding.sharing not in ("group", "channel"):
        return None
    return {"bits": encoding.bits, "group_size": encoding.size or -1, "sym": encoding.symmetric}
