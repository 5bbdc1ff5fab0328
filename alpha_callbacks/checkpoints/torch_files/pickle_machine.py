"""The stack machine that pickles are written for, without the power to call or import anything.

Nothing is hashed or compared but text and small numbers, and nothing recurses: neither tuples that contain one another
many times over, nor deep nesting, nor keys with equal hashes take more time than a pickle has bytes.
"""

import struct
from collections.abc import Callable
from typing import Any

from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign, Global

_MOST_STEPS = 8_000_000  # steps, counted twice where they keep an object: below 10 s and 1 GB
_MOST_INDEX = 2**32
_SMALL = 2**31


class PickleMachine:
    """Stack, memo and position; `pickle_opcodes.py` says what each opcode does with them.

    Args:
        data: holds the pickle.
        start: offset of its first byte.
        construct: (path of a class or function, arguments) -> what stands for the object it would make.
        resolve: path of a class or function -> what stands for it; a `Global` can be called.
        persistent: persistent id -> what stands for the object outside the pickle.
    """

    def __init__(
        self,
        data: bytes,
        start: int,
        construct: Callable[[str, tuple[Any, ...]], Any],
        resolve: Callable[[str], Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.data, self.at = data, start
        self.construct, self.resolve, self.persistent = construct, resolve, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._left = _MOST_STEPS

    def spend(self) -> None:
        """Count one step.

        Raises:
            ValueError: there were too many.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"a pickle of too many steps (the limit is {_MOST_STEPS / 1e6:.0f} million)")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise IndexError
        taken, self.at = self.data[self.at : end], end
        return taken

    def number(self, form: str) -> Any:
        """Return one number in a form of `struct`."""
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def line(self) -> str:
        """Return the rest of the line."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise IndexError
        text, self.at = decoded(self.data[self.at : end]), end + 1
        return text

    def keep(self, value: Any) -> None:
        """Push an object that takes memory."""
        self.spend()
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a new stack on top of this one."""
        self.spend()
        self._below.append(self.stack)
        self.stack = []

    def popped_mark(self) -> list[Any]:
        """Return what was pushed since the mark."""
        above, self.stack = self.stack, self._below.pop()
        return above

    def name(self, module: Any, name: Any) -> None:
        """Push a class or function by its name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a pickle with a name that is no text")
        self.keep(self.resolve(f"{module}.{name}"))

    def call(self, function: Any, args: Any) -> None:
        """Push what stands for the result of a call, which does not take place."""
        if not isinstance(args, tuple) or not isinstance(function, Global | Foreign):
            raise ValueError(f"a pickle that calls {type(function).__name__!r} with {type(args).__name__!r}")
        path = function.path if isinstance(function, Global) else f"{function.of.removesuffix('()')}()"
        self.keep(self.construct(path, args))

    def remember(self, index: int) -> None:
        """Store the top of the stack under a number."""
        self.spend()
        if not 0 <= index < _MOST_INDEX:
            raise IndexError
        self.memo[index] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self.stack[-1]
        items = target.items if isinstance(target, Foreign) else target
        if not isinstance(items, list):
            raise ValueError("a pickle that appends to something that is no list")
        items.extend(values)

    def update(self, pairs: list[Any]) -> None:
        """Set keys of the dict on the stack."""
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Foreign) else target
        if not isinstance(entries, dict) or len(pairs) % 2:
            raise ValueError("a pickle that sets keys of something that has none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            entries[_key(key)] = value

    def build(self) -> None:
        """Keep a state as data. Only objects of classes that are not known here have use for one."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Foreign) and target.state is None:
            target.state = state


def decoded(raw: bytes) -> str:
    """Return text that every file can hold: lone surrogates and bytes that are no UTF-8 are written as escapes."""
    return raw.decode("utf-8", errors="backslashreplace")


def _key(key: Any) -> Any:
    """Return a key that is hashed quickly and compared rarely; others are compared by identity.

    The hash of tuples nested in one another takes forever; large integers and floats can be made to have equal hashes.
    """
    if isinstance(key, str | bytes | Foreign) or key is None or isinstance(key, int) and abs(key) < _SMALL:
        return key
    return Foreign(f"a {type(key).__name__} as key")
