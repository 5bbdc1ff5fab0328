"""Files that appear whole or not at all."""

from pathlib import Path

from alpha_callbacks.errors import OptionError
from alpha_callbacks.utils.drafts import draft_of


def make_folder(path: Path) -> None:
    """Make a folder for results, before any work is done for them.

    Raises:
        OptionError: something else is there, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"output_dir: expected a folder or a place for one, got {str(path)!r} ({error.strerror}). Name another."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part."""
    with draft_of(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
