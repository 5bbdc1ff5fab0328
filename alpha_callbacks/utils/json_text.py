"""JSON that came from elsewhere: whatever is wrong with it is a ValueError."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alpha_callbacks.utils.regular_files import read_regular


def read_json(file: Path) -> Any:
    """Return the value in a file.

    Raises:
        OSError: it is not there, may not be read, or is no regular file.
        ValueError: it holds no JSON.
    """
    return parsed_json(read_regular(file))


def parsed_json(text: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a text in UTF-8.

    Args:
        text: the JSON.
        pairs: what makes an object of its pairs; None: a dict, of which the last pair with a key counts.

    Raises:
        ValueError: it is no JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
