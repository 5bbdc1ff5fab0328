"""What the commands print: foreign text as it can be seen, and nothing that the terminal's encoding stops."""

import codecs
import os
import sys
from typing import TYPE_CHECKING

import typer

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.utils.labels import middle_out

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED = 10_000  # columns of a line that no terminal shows
_MOST = 2000  # characters of one text; a name can have a million
_ERRORS = "alpha_callbacks.plain"
_PLAIN = {"•": "*", "…": "...", "−": "-", "–": "-", "±": "+-", "×": "x", "λ": "lambda", "⌊": "floor(", "⌋": ")"}


def console(*, stderr: bool = False, quiet: bool = False, wrap: bool = False) -> "Console":
    """Return a console for what is printed; names of emoji, such as :skull:, stay as they are.

    Where no terminal shows it, a file or another program reads it: lines are as long as they need.
    """
    from rich.console import Console

    made = Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=not wrap, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _UNBOUNDED
    return made


def escape(text: str) -> str:
    r"""Return foreign text for a console: visible, on one line, without the console's markup.

    Examples:
        >>> escape("a\x1b[2J[bold]b")
        'a\\x1b[2J\\[bold]b'
    """
    from rich.markup import escape as escape_markup

    return escape_markup(middle_out(visible(text), _MOST))


def say(text: str, *, color: str | None = None, err: bool = False) -> None:
    """Print one line, with whatever it holds made visible."""
    typer.secho(middle_out(visible(text), _MOST), fg=color, err=err)


def print_in_any_encoding() -> None:
    """Let stdout and stderr write what their encoding lacks as plain text or as escapes, instead of failing."""
    codecs.register_error(_ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # not where something else stands for it, or nothing
        if reconfigure is not None:
            reconfigure(errors=_ERRORS)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
