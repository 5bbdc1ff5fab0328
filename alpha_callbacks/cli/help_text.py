"""Docstring of a command -> its help: flowing paragraphs above the options, runnable examples below them."""

import inspect
from dataclasses import dataclass

_EXAMPLES = "Examples:"


@dataclass(frozen=True)
class Help:
    """What `--help` shows of a docstring.

    Attributes:
        text: the paragraphs, each one line, since the terminal wraps them.
        examples: commands that can be pasted into a shell, a line each.
    """

    text: str
    examples: tuple[str, ...]

    @property
    def epilog(self) -> str:
        """The examples as they are printed at the end."""
        return "\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in self.examples)])


def help_of(command: object) -> Help:
    """Return the help of a command; examples follow a line `Examples:` at the end of its docstring."""
    text, _, examples = inspect.getdoc(command).partition(f"\n{_EXAMPLES}\n")  # type: ignore[union-attr]
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
    return Help("\n\n".join(paragraphs), tuple(line.strip() for line in examples.splitlines() if line.strip()))
