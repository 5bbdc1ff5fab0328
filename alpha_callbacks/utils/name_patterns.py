r"""Regular expressions from the config of a checkpoint, matched against names in bounded time.

A checkpoint may come from anybody, and `re` tries every way to match: "(a+)+$" takes it longer than anybody waits. Here
the positions that a part of a pattern can end at are followed all at once, as the bits of an integer, and steps are
counted. What configs use is understood: literals, classes, "\d", "\w", "\s", ".", groups, alternatives, repetitions,
"^", "$" and looking ahead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

_MOST_CHARACTERS, _MOST_STEPS = 1000, 10_000
# Patterns in which `re` cannot lose its way: at most two repetitions of one character, at most one choice of words.
_SIMPLE = re.compile(r"\^?(?:(?:\\[dw.]|[\w.\-])[*+]?|\([\w|]+\))*\$?")
_SHORT = 200
_LITERAL = re.compile(r"\\([^a-zA-Z0-9])|([^\\\[\](){}*+?|^$.])")
_CLASS = re.compile(r"\\[dDwWsS]|\.|\[\^?\]?(?:\\[^bB0-9]|[^\\\]])*\]")
_REPEAT = re.compile(r"([*+?])\??|\{(\d{0,3})(,?)(\d{0,3})\}\??")
_GROUP = re.compile(r"\((?:\?(?::|(?P<look>[=!])|P<\w+>))?(?!\?)")


class PatternError(Exception):
    """A pattern that is not understood, or takes too long; the text says which."""


def matches(pattern: str, name: str) -> bool:
    r"""Return True if a pattern matches the beginning of a name, as `re.match` does.

    Raises:
        PatternError: it is not understood, or takes too long.

    Examples:
        >>> matches(r"model\.layers\.\d+\..*_proj$", "model.layers.3.mlp.up_proj")
        True
    """
    if max(len(pattern), len(name)) > _MOST_CHARACTERS:
        raise PatternError(f"the pattern {pattern[:40]!r}, which is too long for a name of {len(name)} characters")
    if _is_simple(pattern) and len(name) <= _SHORT:
        return re.match(pattern, name) is not None
    return _Match(pattern, name).ends(_parsed(pattern), 1) != 0


@lru_cache(maxsize=4096)
def _is_simple(pattern: str) -> bool:
    few = pattern.count("*") + pattern.count("+") <= 2 and pattern.count("(") <= 1
    return len(pattern) <= _SHORT and few and _SIMPLE.fullmatch(pattern) is not None


@dataclass(frozen=True)
class _Node:
    """A part of a pattern.

    Attributes:
        kind: "text", "class", "start", "end", "all" (one after the other), "any" (one of them), "repeat", "ahead" or
            "not ahead".
        text: of "text" and "class".
        parts: of all others.
        low: least repetitions.
        high: most repetitions; None: no limit.
    """

    kind: str
    text: str = ""
    parts: tuple["_Node", ...] = ()
    low: int = 0
    high: int | None = None


@lru_cache(maxsize=4096)
def _parsed(pattern: str) -> _Node:
    try:
        node, end = _alternatives(pattern, 0)
    except RecursionError:
        end = -1
    if end != len(pattern):
        raise PatternError(f"the pattern {pattern[:80]!r}, which is not understood")
    return node


def _alternatives(pattern: str, at: int) -> tuple[_Node, int]:
    """Return what stands before the next ")" that has no "(", and where that is."""
    found: list[_Node] = []
    while True:
        node, at = _sequence(pattern, at)
        found.append(node)
        if pattern[at : at + 1] != "|":
            return (found[0] if len(found) == 1 else _Node("any", parts=tuple(found))), at
        at += 1


def _sequence(pattern: str, at: int) -> tuple[_Node, int]:
    parts: list[_Node] = []
    while at < len(pattern):
        start = at
        if literal := _LITERAL.match(pattern, at):
            node, at = _Node("text", literal[1] or literal[2]), literal.end()
        elif one := _CLASS.match(pattern, at):
            node, at = _Node("class", one[0]), one.end()
        elif pattern[at] in "^$":
            node, at = _Node("start" if pattern[at] == "^" else "end"), at + 1
        elif group := _GROUP.match(pattern, at):
            node, at = _alternatives(pattern, group.end())
            if pattern[at : at + 1] != ")":
                break
            at += 1
            if group["look"]:
                node = _Node("ahead" if group["look"] == "=" else "not ahead", parts=(node,))
        else:
            break
        if repeat := _REPEAT.match(pattern, at):
            low, high = _limits(repeat)
            node, at = _Node("repeat", parts=(node,), low=low, high=high), repeat.end()
        elif node.kind == "text" and parts and parts[-1].kind == "text":
            node = _Node("text", parts.pop().text + node.text)
        parts.append(node)
        start = at
    else:
        start = at
    return _Node("all", parts=tuple(parts)), start


def _limits(repeat: re.Match[str]) -> tuple[int, int | None]:
    if repeat[1]:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[repeat[1]]
    if not (repeat[2] or repeat[4]):
        raise PatternError(f"a pattern with {repeat[0]!r}, which is not understood")
    low = int(repeat[2] or 0)
    return low, (int(repeat[4]) if repeat[4] else None) if repeat[3] else low


@dataclass
class _Match:
    """One pattern and one name; bit i of a number stands for the position before character i."""

    pattern: str
    name: str
    steps: int = 0
    masks: dict[str, int] = field(default_factory=dict)

    def ends(self, node: _Node, at: int) -> int:
        """Return where the part of the pattern can end that begins at one of these positions."""
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise PatternError(f"the pattern {self.pattern[:80]!r}, which takes too long to match")
        if not at:
            return 0
        length = len(self.name)
        match node.kind:
            case "text":
                return (at & self._mask(node)) << len(node.text)
            case "class":
                return (at & self._mask(node)) << 1
            case "start":
                return at & 1
            case "end":
                return at & (1 << length | (1 << length - 1 if self.name.endswith("\n") else 0))
            case "all":
                for part in node.parts:
                    at = self.ends(part, at)
                return at
            case "any":
                found = 0
                for part in node.parts:
                    found |= self.ends(part, at)
                return found
            case "repeat":
                return self._repeated(node, at)
        ahead = (1 << i for i in range(length + 1) if at >> i & 1)
        return sum(bit for bit in ahead if (self.ends(node.parts[0], bit) != 0) == (node.kind == "ahead"))

    def _repeated(self, node: _Node, at: int) -> int:
        (part,), count = node.parts, node.low
        for _ in range(count):
            at = self.ends(part, at)
        if part == _ANYTHING and node.high is None and "\n" not in self.name:
            return (2 << len(self.name)) - (at & -at) if at else 0
        found = at
        while at and (node.high is None or count < node.high):
            at = self.ends(part, at) & ~found
            found |= at
            count += 1
        return found

    def _mask(self, node: _Node) -> int:
        """Return the positions where a text or a class stands."""
        key = node.kind + node.text
        if key not in self.masks:
            starts = _starts(self.name, node.text) if node.kind == "text" else _in_class(self.name, node.text)
            self.masks[key] = sum(1 << start for start in starts)
        return self.masks[key]


_ANYTHING = _Node("class", ".")


def _starts(name: str, text: str) -> Sequence[int]:
    found, at = [], name.find(text)
    while at >= 0:
        found.append(at)
        at = name.find(text, at + 1)
    return found


def _in_class(name: str, text: str) -> Sequence[int]:
    try:
        return [match.start() for match in re.compile(text).finditer(name)]
    except re.error as error:
        raise PatternError(f"a pattern with {text[:40]!r}, which is not understood") from error
