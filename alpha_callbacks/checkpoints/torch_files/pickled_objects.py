"""What stands for the objects of a pickle that are no text, number, list, tuple or dict. None of it can do anything."""

from typing import Any


class Global:
    """A class or function that a pickle names: text, never imported."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Foreign:
    """An object of a class that is not known here: it only holds what the pickle put into it.

    Attributes:
        of: path of the class or function.
        args: what it was called with.
        state: what it would have restored itself from, or None.
        entries: what was set by key.
        items: what was appended.
    """

    __slots__ = ("args", "entries", "items", "of", "state")

    def __init__(self, of: str, args: tuple[Any, ...] = ()) -> None:
        self.of, self.args = of, args
        self.state: Any = None
        self.entries: dict[Any, Any] = {}
        self.items: list[Any] = []

    def __str__(self) -> str:
        return f"<{self.of}>"
