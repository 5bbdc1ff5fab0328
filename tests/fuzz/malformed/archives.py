"""Torch archives and GGUF files that are malformed."""

import io
import os
import pickle
import secrets
import shlex
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.malformed.case import Case, one_file, sound


def _archive(
    change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        source = zipfile.ZipFile(io.BytesIO(sound("torch_zip/plain")))
        with zipfile.ZipFile(folder / "model.pt", "w", compression) as target:
            for name in source.namelist():
                data = change(name.partition("/")[2], source.read(name))
                if data is not None:
                    target.writestr(name, data)

    return write


def _saved(content: object, **options: Any) -> Callable[[Path], object]:
    return lambda folder: torch.save(content, folder / "model.pt", **options)


# What code in a pickle would leave behind: another file in each run, since several may be at work on a machine.
WAS_RUN = Path(tempfile.gettempdir()) / f"alpha-callbacks-was-run-{secrets.token_hex(8)}"
_COMMAND = f"touch {shlex.quote(str(WAS_RUN))}"
_TEXT = f"cos\nsystem\n(S{_COMMAND!r}\ntR.".encode()  # pickled by protocol 0


class Calls:
    """Would run a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (_COMMAND,)


def archives() -> Iterator[Case]:
    """Files of torch.save."""
    members: dict[str, tuple[str, bytes | None]] = {
        "no-storage": ("data/0", None),
        "short-storage": ("data/0", b"\0" * 100),
        "no-pickle": ("data.pkl", None),
        "big-endian": ("byteorder", b"big"),
        "byte-order": ("byteorder", b"mid"),
        "version": ("version", b"9" * 5000),
        "pickle-empty": ("data.pkl", b""),
        "pickle-noise": ("data.pkl", b"\x80\x02\xff\xff"),
        "pickle-memo": ("data.pkl", b"\x80\x02h\x05."),
        "pickle-text": ("data.pkl", b"\x80\x02X\xff\xff\xff\x7fabc."),
        "pickle-long": ("data.pkl", b"\x80\x02\x8b\xff\xff\xff\x7f."),
        "pickle-pop": ("data.pkl", b"\x80\x02aaaa."),
        "pickle-set": ("data.pkl", b"\x80\x02K\x01K\x02K\x03s."),
        "pickle-persistent": ("data.pkl", b"\x80\x02K\x05Q."),
        "pickle-dict": ("data.pkl", b"\x80\x02}."),
        "pickle-deep": ("data.pkl", b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b"."),
        "pickle-marks": ("data.pkl", b"\x80\x02" + b"(" * 1_000_000 + b"."),
        "pickle-within-itself": ("data.pkl", b"\x80\x02}q\0X\x01\0\0\0ah\0s."),
        "pickle-tuples": ("data.pkl", b"\x80\x02)" + b"q\0h\0\x86" * 60 + b"."),
        "pickle-keys": (
            "data.pkl",
            b"\x80\x02}(" + b"".join(b"I%d\nN" % ((2**61 - 1) * i) for i in range(100_000)) + b"u.",
        ),
        "pickle-global": ("data.pkl", _TEXT),
    }
    for name, (member, data) in members.items():
        yield Case(f"torch-{name}", _archive(lambda n, d, member=member, data=data: data if n == member else d))  # type: ignore[misc]
    yield Case("torch-deflated", _archive(lambda n, d: d, zipfile.ZIP_DEFLATED))
    for member in ("data.pkl", "data/0"):
        bomb = _archive(lambda n, d, member=member: bytes(2**31) if n == member else d, zipfile.ZIP_DEFLATED)  # type: ignore[misc]
        yield Case(f"torch-2GiB-of-zeros-{member.replace('/', '-')}", bomb, big=True)
    for kind in ("zip", "legacy"):
        whole = sound(f"torch_{kind}/plain")
        for share in (0.01, 0.05, 0.3, 0.5, 0.9, 0.999):
            yield Case(f"torch-{kind}-cut-{share}", one_file("model.pt", whole[: int(len(whole) * share)]))
    matrix = torch.randn(32, 32)
    contents: dict[str, object] = {
        "list": [torch.ones(3, 3)],
        "int-key": {1: matrix},
        "empty": {},
        "text": "hello",
        "none": None,
        "meta": {"a.weight": matrix.to("meta")},
        "sparse": {"a.weight": matrix.to_sparse()},
        "complex": {"a.weight": matrix.to(torch.complex64)},
        "stride-0": {"a.weight": torch.as_strided(torch.ones(1), (2**20, 2**20), (0, 0))},
        "stride-0-small": {"a.weight": torch.as_strided(torch.randn(64), (4096, 4096), (0, 0))},
        "overlapping": {"a.weight": torch.as_strided(torch.randn(64), (32, 32), (1, 1))},
        "wrapped": {"module.a.weight": matrix, "model": {"model": {"x": 1}}},
        "bool": {"a.weight": matrix > 0},
        "no-rows": {"a.weight": torch.ones(0, 5)},
        "shell": {"a.weight": torch.ones(0)},
        "nan": {"a.weight": matrix * float("nan")},
        "code": {"a": Calls()},
        "code-beside": {"a.weight": matrix, "b": Calls()},
    }
    for name, content in contents.items():
        yield Case(f"torch-{name}", _saved(content))
        if name not in ("stride-0", "overlapping", "int-key", "wrapped", "bool", "text"):
            yield Case(f"torch-legacy-{name}", _saved(content, _use_new_zipfile_serialization=False))
    yield Case("torch-surrogate", _saved({"a\ud800.weight": matrix}))
    yield Case("torch-plain-pickle", one_file("model.pt", pickle.dumps(Calls())))
    yield Case("torch-protocol-0", one_file("model.pt", _TEXT))
    within: dict[str, Any] = {}
    within["self"] = within
    yield Case("torch-within-itself", _saved({"state_dict": within, "a": torch.ones(2)}))


def gguf() -> Iterator[Case]:
    """GGUF with counts, types and places that are none."""
    whole = sound("gguf/plain")

    def put(name: str, place: int, form: str, value: int) -> Case:
        data = whole[:place] + struct.pack(form, value) + whole[place + struct.calcsize(form) :]
        return Case(f"gguf-{name}", one_file("m.gguf", data))

    def field(name: str, key: str, kind: int, value: bytes) -> Case:
        count = struct.unpack("<Q", whole[16:24])[0] + 1
        pair = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value
        return Case(f"gguf-{name}", one_file("m.gguf", whole[:16] + struct.pack("<Q", count) + pair + whole[24:]))

    for what, place in (("tensors", 8), ("pairs", 16), ("key", 24)):
        for value in (0, 3, 10**6, 10**9, 2**62, 2**64 - 1):
            yield put(f"{what}-{value}", place, "<Q", value)
    for version in (0, 1, 4, 99, 2**24):
        yield put(f"version-{version}", 4, "<I", version)
    tensor = whole.index(b"blk.0.ffn_up.weight") + 19
    for value in (0, 5, 9, 10**6, 2**32 - 1):
        yield put(f"dimensions-{value}", tensor, "<I", value)
    for value in (0, 33, 2**31, 2**62, 2**64 - 1):
        yield put(f"size-{value}", tensor + 4, "<Q", value)
    for value in (4, 16, 26, 39, 999, 2**32 - 1):
        yield put(f"type-{value}", tensor + 20, "<I", value)
    for value in (1, 32, 10**6, 2**62):
        yield put(f"offset-{value}", tensor + 24, "<Q", value)
    for cut in (3, 4, 8, 20, 24, 30, 60, len(whole) // 2, len(whole) - 4):
        yield Case(f"gguf-cut-{cut}", one_file("m.gguf", whole[:cut]))
    for value in (0, 3, 2**63):
        yield field(f"alignment-{value}", "general.alignment", 10, struct.pack("<Q", value))
    yield field("alignment-text", "general.alignment", 8, struct.pack("<Q", 1) + b"x")
    for count in (10**9, 2**31, 2**63):
        yield field(f"numbers-{count}", "x", 9, struct.pack("<IQ", 4, count))
        yield field(f"texts-{count}", "x", 9, struct.pack("<IQ", 8, count))
    yield field("arrays-in-arrays", "x", 9, struct.pack("<IQ", 9, 1) * 3000 + struct.pack("<IQ", 4, 0))
    yield field("kind-99", "x", 99, b"")
    yield field("architecture-twice", "general.architecture", 8, struct.pack("<Q", 1) + b"x")
    yield field("heads-list", "llama.attention.head_count", 9, struct.pack("<IQII", 4, 2, 1, 2))
    yield field("heads-nan", "llama.attention.head_count_kv", 6, struct.pack("<f", float("nan")))
    yield Case("gguf-no-utf8", one_file("m.gguf", whole.replace(b"blk.0.ffn_up", b"blk.0.ffn_\xff\xfe")))
    yield Case("gguf-surrogate", one_file("m.gguf", whole.replace(b"blk.0.ffn_up", b"blk.0.ffn_\xed\xa0\x80"[:12])))
    yield Case("gguf-magic", one_file("m.gguf", b"XXXX" + whole[4:]))
    texts = struct.pack("<IQ", 8, 8_000_000) + bytes(64_000_000)
    yield Case("gguf-8e6-texts", field("", "x", 9, texts).write, big=True)
