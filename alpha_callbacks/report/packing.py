"""Numbers and words as compact JSON: columns of numbers in base64, repeated words as indices."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

Kind = Literal["f8", "f4", "u4", "u2"]


def packed(values: Sequence[float] | np.ndarray, kind: Kind = "f4") -> dict[str, str]:
    """Return numbers for `AH.unpack`.

    Args:
        values: one column; nan is kept.
        kind: "f8" is exact, "f4" has a relative error of 6e-8, "u4" and "u2" are whole numbers.
    """
    array = np.asarray(values)
    if kind[0] == "u":
        limits = np.iinfo(kind)
        assert array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max)
    with np.errstate(over="ignore", under="ignore"):
        return {"t": kind, "b": base64.b64encode(array.astype(f"<{kind}").tobytes()).decode()}


def unpacked(column: dict[str, str]) -> np.ndarray:
    """Return the numbers that `packed` was given, with the digits of its kind."""
    return np.frombuffer(base64.b64decode(column["b"]), dtype=f"<{column['t']}")


def coded(words: Iterable[str]) -> dict[str, Any]:
    """Return words for `AH.decode`: the distinct ones in order of appearance, and the index of each."""
    places: dict[str, int] = {}
    indices = [places.setdefault(word, len(places)) for word in words]
    return {"w": list(places), "i": packed(indices, "u4" if len(places) > 2**16 else "u2")}
