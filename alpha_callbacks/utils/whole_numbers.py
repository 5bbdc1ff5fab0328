"""Whole numbers in names."""

import re

_INDEX = re.compile(r"[0-9]{1,18}")


def is_index(text: str) -> bool:
    r"""Return True for what `int` reads as an index: up to 18 of the digits 0-9.

    `str.isdigit` also takes digits that `int` refuses, such as a superscript two, and any number of them.

    Examples:
        >>> [is_index(text) for text in ("17", "\u00b2", "9" * 5000, "-1", "")]
        [True, False, False, False, False]
    """
    return _INDEX.fullmatch(text) is not None
