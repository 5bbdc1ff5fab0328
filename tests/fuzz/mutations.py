"""Small damage to a sound file: of bytes, of numbers, of JSON, of the pickle within an archive, of cells."""

import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

_BYTES = (0, 1, 0x7F, 0x80, 0xFF, *b'\n,"{[')
_NUMBERS = (0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 10**6, 10**9, 12, 16, 32)
_JSON: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    16,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    10**6,
    2**31,
    2**63,
    2**64,
    10**30,
    "",
    "x",
    "16",
    "../x",
    "\ud800",
    "a\0b",
    "a\r\nb",
    "\x1b]52;c;eA==\x07",
    "=1+1",
    [],
    [[]],
    [0],
    [1, 16],
    {},
    {"a": 1},
    "a" * 5000,
)
_RAW = (b"-1", b"1e400", b"NaN", b"null", b"[]", b"{}", b'"x"', b"9" * 5000, b"0", b'"\\ud800"', b"[" * 100_000, b"1e5")
_CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e308",
    "1e400",
    "x",
    "9" * 5000,
    "2.5",
    '"',
    "\0",
    "ok",
    "failed",
    "=1+1",
)
_PICKLED = (
    b"N",
    b"]",
    b"}",
    b")",
    b"(",
    b"K\x05",
    b"0",
    b"2",
    b"R",
    b"a",
    b"s",
    b"Q",
    b"X\x01\x00\x00\x00a",
    b"G\x7f\xf0" + b"\0" * 6,
    b"cos\nsystem\n",
    b"\x8a\x08" + b"\xff" * 8,
    b"h\x00",
    b"q\x00",
    b"b",
    b"\x85",
    b"t",
    b"u",
    b"\x81",
    b"e",
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some damage, chosen by what they look like."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        ways: list[Callable[[bytes, random.Random], bytes]] = [_bytes]
        if data[:1] in (b"{", b"["):
            ways += [_json, _json, _json, _raw_json]
        elif data[8:9] == b"{":
            ways += [_header, _header, _header]
        elif data.startswith(b"PK"):
            ways += [_archive, _archive, _pickle_within, _pickle_within, _pickle_within]
        elif data.startswith(b"\x80"):
            ways += [_pickle, _pickle]
        elif b"," in data[:200]:
            ways += [_cells, _cells, _cells]
        data = chance.choice(ways)(data, chance)
    return data


def _bytes(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    if not found:
        return bytes(chance.choices(range(256), k=20))
    at = chance.randrange(min(len(found), chance.choice((40, 400, len(found)))))
    match chance.randrange(9):
        case 0 | 1:
            found[at] ^= 1 << chance.randrange(8)
        case 2:
            found[at] = chance.choice(_BYTES)
        case 3:
            found[at : at + 8] = struct.pack("<Q", chance.choice(_NUMBERS))
        case 4:
            found[at : at + 4] = struct.pack("<I", chance.choice(_NUMBERS) & 0xFFFFFFFF)
        case 5:
            del found[at : at + chance.choice((1, 2, 4, 8, 100))]
        case 6:
            found[at:at] = bytes(chance.choices(range(256), k=chance.choice((1, 4, 8))))
        case 7:
            source = chance.randrange(len(found))
            found[at:at] = found[source : source + chance.choice((4, 16, 64, 500))]
        case 8:
            del found[chance.randrange(len(found)) :]
    return bytes(found)


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything in a JSON value."""
    found, todo = list[tuple[Any, Any]](), [content]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        todo += [node[key] for key in keys]
    return found


def _json(data: bytes, chance: random.Random) -> bytes:
    try:
        content = json.loads(data)
        places = _places(content)
    except (ValueError, RecursionError):
        return _raw_json(data, chance)
    if not places:
        return json.dumps(chance.choice(_JSON)).encode()
    node, key = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[chance.choice(("", "a", "\ud800", "x" * 300, "weight", "__metadata__"))] = node.pop(key)
        case 2 if isinstance(node[key], int) and not isinstance(node[key], bool):
            node[key] += chance.choice((-1, 1, -16, 2**31, -(2**63)))
        case 3:
            other, place = chance.choice(places)
            node[key] = other.get(place) if isinstance(other, dict) else content
            try:
                json.dumps(content)
            except ValueError:  # within itself
                node[key] = None
        case _:
            node[key] = chance.choice(_JSON)
    return json.dumps(content).encode()


def _raw_json(data: bytes, chance: random.Random) -> bytes:
    found = list(re.finditer(rb'-?\d+|"[^"]{0,99}"|\[[^][]{0,99}\]|true|null', data))
    if not found:
        return _bytes(data, chance)
    place = chance.choice(found)
    return data[: place.start()] + chance.choice(_RAW) + data[place.end() :]


def _header(data: bytes, chance: random.Random) -> bytes:
    """Change the header of a safetensors file; its length is that of the new one."""
    end = 8 + int.from_bytes(data[:8], "little")
    change = chance.choice((_json, _json, _raw_json, _bytes))
    header = change(data[8:end], chance)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _pickle(data: bytes, chance: random.Random) -> bytes:
    """Change opcodes of a pickle."""
    try:
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:  # genops raises whatever it meets
        return _bytes(data, chance)
    i = chance.randrange(max(1, len(places) - 1))
    start, end = places[i], places[i + 1] if i + 1 < len(places) else len(data)
    match chance.randrange(5):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:end] + data[start:end] * chance.choice((1, 2, 50)) + data[end:]
        case 2:
            j = chance.randrange(max(1, len(places) - 1))
            return data[:start] + data[places[j] : places[j] + end - start] + data[end:]
        case _:
            return data[:start] + chance.choice(_PICKLED) + data[chance.choice((start, end)) :]


def _rewritten(data: bytes, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the archive written again, its checksums right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = {info.filename: source.read(info) for info in source.infolist()}
    except Exception:  # an archive that is damaged already
        return data
    change(members)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name or "x"), content, compression)
    return target.getvalue()


def _archive(data: bytes, chance: random.Random) -> bytes:
    def change(members: dict[str, bytes]) -> None:
        if not members:
            return
        name = chance.choice(list(members))
        match chance.randrange(5):
            case 0:
                del members[name]
            case 1:
                members[chance.choice(("a", "archive/data.pkl", "../x", "archive/data/0", name + "x"))] = members.pop(
                    name
                )
            case 2:
                members["archive/data.pkl"] = members[name]
            case _:
                members[name] = _bytes(members[name], chance)

    compression = chance.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,))
    return _rewritten(data, change, compression)


def _pickle_within(data: bytes, chance: random.Random) -> bytes:
    def change(members: dict[str, bytes]) -> None:
        for name, content in members.items():
            if name.endswith("data.pkl"):
                members[name] = chance.choice((_pickle, _pickle, _bytes))(content, chance)

    return _rewritten(data, change)


def _cells(data: bytes, chance: random.Random) -> bytes:
    lines = [line.split(",") for line in data.decode("utf-8", "replace").split("\n")]
    line = chance.choice(lines)
    place = chance.randrange(len(line))
    match chance.randrange(6):
        case 0:
            lines.remove(line)
        case 1:
            lines.append(line)
        case 2:
            del line[place]
        case 3:
            other = chance.choice(lines)
            line[place] = chance.choice(other) if other else ""
        case _:
            line[place] = chance.choice(_CELLS)
    return "\n".join(map(",".join, lines)).encode("utf-8", "surrogatepass")
