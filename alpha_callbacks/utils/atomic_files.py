"""Files that appear whole or not at all."""

import os
import re
import secrets
from pathlib import Path

from alpha_callbacks.errors import OptionError

_LONGEST = 100  # characters of a file name


def make_folder(path: Path) -> None:
    """Make a folder for results, before any work is done for them.

    Raises:
        OptionError: something else is there, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"output_dir {path}: expected a folder or a place for one, got {error.strerror}. Name another."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        os.replace(draft, path)
    except BaseException:  # a full disk must not fill further with drafts
        draft.unlink(missing_ok=True)
        raise


def safe_file_name(name: str) -> str:
    """Return a file name made of A-Z a-z 0-9 . _ - only, 1 to 100 characters, without leading or double dots.

    Examples:
        >>> safe_file_name("model.layers.0.mlp"), safe_file_name("../../x"), safe_file_name("")
        ('model.layers.0.mlp', 'x', 'unnamed')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    safe = re.sub(r"\.{2,}", ".", safe).strip("._")
    return safe[:_LONGEST].rstrip("._") or "unnamed"
