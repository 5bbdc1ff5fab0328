"""Lines of JSON that end in a checksum of what stands before it, so that a flipped bit is not taken for a number."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = b', "checksum": "%s"}'
_DIGITS = 16
_LENGTH = len(_SEAL % (b"0" * _DIGITS))


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line, without the newline; its last key is `checksum`.

    Examples:
        >>> sealed({"layer": "a"})
        b'{"layer": "a", "checksum": "ec839e957170d9d9"}'
    """
    body = json.dumps(content)[:-1].encode()
    return body + _seal(body)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """Return what `sealed` wrote, or None if a line is not, to the last bit, what it wrote."""
    body, seal = line[:-_LENGTH], line[-_LENGTH:]
    return without_seal(body + b"}") if seal == _seal(body) else None


def without_seal(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if there is none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _seal(body: bytes) -> bytes:
    return _SEAL % hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest().encode()
