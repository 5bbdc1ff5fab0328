"""Text for figures: untrusted names made harmless and cut to a width, tail rules in words."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import TextToPath

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.labels import middle_out

_FAMILY = "DejaVu Sans"
_MEASURE = TextToPath()
_MOST = 1000  # characters; no line of a figure holds more


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: no mathtext, no control characters, no glyph that the font lacks."""
    return _drawable(text).replace("$", r"\$")


def fit(text: str, width: float, size: float, *, weight: str = "normal") -> str:
    r"""Return one line of `plain` text no wider than `width` inches at this font size, its middle left out if need be.

    Examples:
        >>> fit("pay $5", 3.0, 9.0), len(fit("x" * 300, 3.0, 9.0)) < 60
        ('pay \\$5', True)
    """
    return _cut(_drawable(text), width, size, weight).replace("$", r"\$")


def fit_title(text: str, width: float, sizes: Iterable[float] = (12.0, 11.0, 10.0, 9.0, 8.0)) -> tuple[str, float]:
    """Return a bold title and its font size: the largest that fits one line, else two lines of the smallest."""
    text, size = _drawable(text), 8.0
    for size in sizes:
        if text_width(text, size, "bold") <= width:
            return text.replace("$", r"\$"), size
    head = _longest(lambda length: text_width(text[:length], size, "bold") <= width, len(text))
    head = max((text.rfind(mark, head // 2, head) + 1 for mark in "._/ "), default=0) or head
    lines = (text[:head], _cut(text[head:], width, size, "bold"))
    return "\n".join(lines).replace("$", r"\$"), size


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line in inches."""
    width, _, _ = _MEASURE.get_text_width_height_descent(text, _font(weight, size), False)
    return float(width) / 72


def tail_text(rows: Iterable[Row]) -> str:
    """Return the tail rule if it is the same for all rows, else "".

    One shape gives its k and n; several shapes the common share of the spectrum, if one explains all of them.
    """
    used = [row for row in rows if row.ok and 0 < row.k_used < row.n_eigs]
    sizes = {(row.k_used, row.n_eigs) for row in used}
    thresholds = {row.threshold for row in used}
    if not sizes or len(thresholds) > 1:
        return ""
    if len(sizes) == 1:
        ((k, n),) = sizes
        rule = f"k = {k} of n = {n}"
    else:
        share = _shortest(max(k / n for k, n in sizes), min((k + 1) / n for k, n in sizes))
        if share is None:
            return ""
        rule = f"k = ⌊{share} n⌋"
    return rule + (", threshold = λ(k)" if thresholds == {"last"} else ", threshold = λ(k+1)")


def joined(*parts: str) -> str:
    """Return the parts that are not empty, separated by dots."""
    return "  ·  ".join(part for part in parts if part)


def _shortest(low: float, high: float) -> str | None:
    """Return the decimal with the fewest digits in [low, high)."""
    for digits in range(1, 5):
        value = math.ceil(round(low * 10**digits, 6)) / 10**digits
        if low - 1e-12 <= value < high:
            return f"{value:.{digits}f}"
    return None


@lru_cache(maxsize=4096)
def _drawable(text: str) -> str:
    text = middle_out(visible(text), _MOST)
    return "".join(c if ord(c) in _glyphs() else "\ufffd" for c in text)


@lru_cache(maxsize=4096)
def _cut(text: str, width: float, size: float, weight: str) -> str:
    if text_width(text, size, weight) <= width:
        return text
    return middle_out(text, _longest(lambda keep: text_width(middle_out(text, keep), size, weight) <= width, len(text)))


def _longest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest length in 1..most that fits (bisection; names come from files and may be huge)."""
    return max(1, bisect_left(range(1, min(most, _MOST) + 1), True, key=lambda length: not fits(length)))


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_font("normal", 9.0))).get_charmap())


@cache
def _font(weight: str, size: float) -> FontProperties:
    return FontProperties(family=_FAMILY, weight=weight, size=size)
