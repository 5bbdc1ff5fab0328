"""Malformed files, whole, each with the command that is given it. Some are large."""

import io
import json
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.make_corpus import CORPUS

NAME = "model.layers.0.mlp.up_proj.weight"
_ZEROS = bytes(16 * 16 * 4)
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**18,
    2.5,
    float("nan"),
    float("inf"),
    "16",
    "",
    [],
    [16],
    {},
    {"a": 1},
    "\ud800",
)


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        name: of its folder.
        write: puts the files into the folder.
        command: what reads it; `{}` stands for the folder.
        big: takes tens of megabytes or seconds to write.
    """

    name: str
    write: Callable[[Path], object]
    command: tuple[str, ...] = ("scan", "{}")
    big: bool = False


def sound(place: str) -> bytes:
    """Return a file of the corpus."""
    return (CORPUS / place).read_bytes()


def _file(name: str, data: bytes | str) -> Callable[[Path], object]:
    content = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return lambda folder: (folder / name).write_bytes(content)


def _both(*writers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [write(folder) for write in writers]


def _tensor(**other: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [16, 16], "data_offsets": [0, 1024], **other}


def _safetensors(header: Any, data: bytes = _ZEROS, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors() -> Iterator[Case]:
    """Headers that lie, and JSON that is none."""
    entry = json.dumps(_tensor()).encode()
    headers: dict[str, Any] = {
        "overlap": {NAME: _tensor(), "b.weight": _tensor()},
        "gap": {NAME: _tensor(data_offsets=[4, 1028])},
        "backwards": {NAME: _tensor(data_offsets=[1024, 0])},
        "null": {NAME: None},
        "list": [1, 2],
        "number": 5,
        "metadata-number": {NAME: _tensor(), "__metadata__": {"a": 5}},
        "metadata-list": {NAME: _tensor(), "__metadata__": [1]},
        "no-tensors": {},
        "no-name": {"": _tensor()},
        "no-stem": {".weight": _tensor()},
        "three-offsets": {NAME: _tensor(data_offsets=[0, 1024, 2048])},
        "one-layer-twice": {"a.weight": _tensor(), "a.qweight": _tensor(data_offsets=[1024, 2048])},
        "same-key": b'{"a.weight":' + entry + b',"a.weight":' + entry + b"}",
        "no-utf8": b'{"\xff\xfe.weight":' + entry + b"}",
        "surrogate": b'{"a\\ud800.weight":' + entry + b"}",
        "nul": b'{"a\\u0000.weight":' + entry + b"}",
        "escape": b'{"a\\u001b]52;c;eA==\\u0007.weight":' + entry + b"}",
        "newline": b'{"a\\r\\nb.weight":' + entry + b"}",
        "long-name": {"x" * 100_000 + ".weight": _tensor()},
        "deep-object": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "deep-list": b"[" * 2_000_000,
        "deep-shape": b'{"a":{"dtype":"F32","shape":' + b"[" * 5000 + b"]" * 5000 + b',"data_offsets":[0,1024]}}',
        "digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1024]}}',
        "no-json": b"hello world",
        "spaces": b" " * 1000,
        "bom": b"\xef\xbb\xbf{}",
    }
    for name, header in headers.items():
        yield Case(f"safetensors-{name}", _file("model.safetensors", _safetensors(header)))
    for shape in (
        [16, 17],
        [-16, -16],
        [2**63, 2],
        [2**32, 2**32],
        [16.0, 16.0],
        "16x16",
        [1] * 100 + [16, 16],
        [[16], 16],
        [0, 2**62],
        None,
        [True, 256],
        [10**400],
    ):
        data = _safetensors({NAME: _tensor(shape=shape)})
        yield Case(f"safetensors-shape-{json.dumps(shape)[:20]}", _file("model.safetensors", data))
    for shape in ([0, 2**62], [2**62, 0], [0, 16], [0]):
        header = {NAME: _tensor(shape=shape, data_offsets=[0, 0]), "b.weight": _tensor()}
        yield Case(f"safetensors-empty-{shape}", _file("model.safetensors", _safetensors(header)))
    for dtype, size in (
        ("F31", 32),
        (3, 32),
        (None, 32),
        ("F8_E8M0", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("C64", 64),
        ("BOOL", 8),
        ("I64", 64),
        ("U8", 8),
        ("f32", 32),
    ):
        data = bytes(256 * size // 8)
        header = {NAME: _tensor(dtype=dtype, data_offsets=[0, len(data)])}
        yield Case(f"safetensors-dtype-{dtype}", _file("model.safetensors", _safetensors(header, data)))
    for length in (0, 10, 2**31, 2**63 - 1, 2**64 - 1):
        data = _safetensors({NAME: _tensor()}, length=length)
        yield Case(f"safetensors-length-{length}", _file("model.safetensors", data))
    whole = sound("safetensors/plain")
    for cut in (0, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        yield Case(f"safetensors-cut-{cut}", _file("model.safetensors", whole[:cut]))
    yield Case("safetensors-more", _file("model.safetensors", whole + bytes(100)))
    names = {
        f"model.layers.{i}.mlp.up_proj.weight": _tensor(shape=[1, 1], data_offsets=[4 * i, 4 * i + 4])
        for i in range(20_000)
    }
    yield Case("safetensors-20000-tensors", _file("model.safetensors", _safetensors(names, bytes(80_000))), big=True)
    long = {NAME: _tensor(), "__metadata__": {"x": "a" * 90 * 2**20}}
    yield Case("safetensors-90MB-header", lambda f: (f / "model.safetensors").write_bytes(_safetensors(long)), big=True)
    dims = {NAME: _tensor(shape=[1] * 2_000_000 + [16, 16])}
    yield Case("safetensors-2e6-dims", lambda f: (f / "model.safetensors").write_bytes(_safetensors(dims)), big=True)


def indexes() -> Iterator[Case]:
    """Indexes that lead elsewhere, or nowhere."""
    shard, file = _file("s.safetensors", sound("safetensors/plain")), "model.safetensors.index.json"
    places: tuple[Any, ...] = (
        *_ODD,
        "../../etc/passwd",
        "/etc/passwd",
        "http://127.0.0.1:9/x.safetensors",
        "..\\x.safetensors",
        ".",
        "..",
        "a\0b.safetensors",
        "a" * 5000 + ".safetensors",
        "gone.safetensors",
        file,
        "s.pt",
        ["s.safetensors"],
    )
    for i, place in enumerate(places):
        yield Case(f"index-place-{i}", _both(shard, _file(file, json.dumps({"weight_map": {NAME: place}}))))
    for i, content in enumerate((*_ODD, [NAME], "s.safetensors", {"a": "s.safetensors", "b": 5})):
        yield Case(f"index-map-{i}", _both(shard, _file(file, json.dumps({"weight_map": content}))))
    many = b",".join(b'"t%d":"s.safetensors"' % i for i in range(100_000))
    raw = {
        "empty": b"",
        "no-utf8": b"\xff\xfe{}",
        "deep": b'{"weight_map":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "same-key": b'{"weight_map":{"a":"s.safetensors","a":"s.safetensors"}}',
        "list": b"[]",
        "number": b"9" * 5000,
        "100000-and-one-twice": b'{"weight_map":{' + many + b',"t99999":"s.safetensors"}}',
        "100000": b'{"weight_map":{' + many + b"}}",
        "surrogate": b'{"weight_map":{"\\ud800":"s.safetensors"}}',
    }
    for name, data in raw.items():
        yield Case(f"index-{name}", _both(shard, _file(file, data)))


def configs() -> Iterator[Case]:
    """Configs whose values are of another kind."""
    weights, base = _file("model.safetensors", sound("safetensors/fused")), json.loads(sound("config_json/phi"))
    fields = (
        *base,
        "head_dim",
        "vocab_size",
        "layer_types",
        "quantization_config",
        "num_experts",
        "torch_dtype",
    )
    for i, (key, value) in enumerate(product(fields, _ODD)):
        if i % 2:  # half of them: 16 fields with 15 values each
            yield Case(
                f"config-{key}-{_ODD.index(value)}",
                _both(weights, _file("config.json", json.dumps({**base, key: value}))),
            )
    for kind in ("gpt_neox", "gpt2", "falcon", "mixtral", "llama4", "dbrx"):
        for heads in (-4, 0, 3, 10**18):
            config = {
                **base,
                "model_type": kind,
                "num_attention_heads": heads,
                "num_key_value_heads": heads,
                "head_dim": -heads,
            }
            yield Case(f"config-{kind}-{heads}", _both(weights, _file("config.json", json.dumps(config))))
    raw = {
        "empty": b"",
        "no-utf8": b"\xff\xfe\0",
        "list": b"[1, 2]",
        "deep": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "deep-list": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep-900": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        "digits": b'{"hidden_size":' + b"9" * 5000 + b"}",
        "digits-4000": b'{"model_type":"phi3","hidden_size":' + b"9" * 4000 + b"}",
        "surrogates": b'{"model_type":"\\ud800","architectures":["\\udfff"]}',
        "text": b"hello",
    }
    for name, data in raw.items():
        yield Case(f"config-{name}", _both(weights, _file("config.json", data)))
    for method in ("gptq", "fp8", "compressed", "bitnet"):
        config = json.loads(sound(f"quantization_config/{method}"))["quantization_config"]
        for i, (key, value) in enumerate(product(config, (None, -1, 0, 10**18, "x", [], {}, [0, 0], [[]]))):
            if i % 3 == 0:
                changed = _file("config.json", json.dumps({"quantization_config": {**config, key: value}}))
                codes = _file("model.safetensors", sound(f"stored_codes/{method}"))
                yield Case(f"stored-{method}-{key}-{i}", _both(codes, changed))
    adapter = json.loads(sound("adapter_config/lora"))
    for i, (key, value) in enumerate(product(adapter, _ODD)):
        if i % 6 == 0:
            factors = _file("adapter_model.safetensors", sound("adapter_weights/lora"))
            changed = _file("adapter_config.json", json.dumps({**adapter, key: value}))
            yield Case(f"adapter-{key}-{i}", _both(factors, changed))


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


class _Calls:
    """Would run a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/alpha-callbacks-was-run",)


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
        "pickle-global": ("data.pkl", b"cos\nsystem\n(S'touch /tmp/alpha-callbacks-was-run'\ntR."),
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
            yield Case(f"torch-{kind}-cut-{share}", _file("model.pt", whole[: int(len(whole) * share)]))
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
        "code": {"a": _Calls()},
        "code-beside": {"a.weight": matrix, "b": _Calls()},
    }
    for name, content in contents.items():
        yield Case(f"torch-{name}", _saved(content))
        if name not in ("stride-0", "overlapping", "int-key", "wrapped", "bool", "text"):
            yield Case(f"torch-legacy-{name}", _saved(content, _use_new_zipfile_serialization=False))
    yield Case("torch-surrogate", _saved({"a\ud800.weight": matrix}))
    yield Case("torch-plain-pickle", _file("model.pt", pickle.dumps(_Calls())))
    yield Case("torch-protocol-0", _file("model.pt", b"cos\nsystem\n(S'touch /tmp/alpha-callbacks-was-run'\ntR."))
    within: dict[str, Any] = {}
    within["self"] = within
    yield Case("torch-within-itself", _saved({"state_dict": within, "a": torch.ones(2)}))


def gguf() -> Iterator[Case]:
    """GGUF with counts, types and places that are none."""
    whole = sound("gguf/plain")

    def put(name: str, place: int, form: str, value: int) -> Case:
        data = whole[:place] + struct.pack(form, value) + whole[place + struct.calcsize(form) :]
        return Case(f"gguf-{name}", _file("m.gguf", data))

    def field(name: str, key: str, kind: int, value: bytes) -> Case:
        count = struct.unpack("<Q", whole[16:24])[0] + 1
        pair = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value
        return Case(f"gguf-{name}", _file("m.gguf", whole[:16] + struct.pack("<Q", count) + pair + whole[24:]))

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
        yield Case(f"gguf-cut-{cut}", _file("m.gguf", whole[:cut]))
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
    yield Case("gguf-no-utf8", _file("m.gguf", whole.replace(b"blk.0.ffn_up", b"blk.0.ffn_\xff\xfe")))
    yield Case("gguf-surrogate", _file("m.gguf", whole.replace(b"blk.0.ffn_up", b"blk.0.ffn_\xed\xa0\x80"[:12])))
    yield Case("gguf-magic", _file("m.gguf", b"XXXX" + whole[4:]))
    texts = struct.pack("<IQ", 8, 8_000_000) + bytes(64_000_000)
    yield Case("gguf-8e6-texts", field("", "x", 9, texts).write, big=True)


def special_files() -> Iterator[Case]:
    """What is no regular file, or cannot be one of weights."""
    good = _file("model.safetensors", sound("safetensors/plain"))
    kinds: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "loop": lambda path: os.symlink(path.name, path),
        "gone": lambda path: os.symlink("/nonexistent/x", path),
        "zeros": lambda path: os.symlink("/dev/zero", path),
        "passwd": lambda path: os.symlink("/etc/passwd", path),
        "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    }
    for kind, make in kinds.items():
        for name in ("model.safetensors", "model.safetensors.index.json", "m.gguf", "model.pt", ".metadata", "latest"):
            yield Case(f"special-{kind}-{name}", lambda f, make=make, name=name: make(f / name))  # type: ignore[misc]
        for name in ("config.json", "adapter_config.json", "modules.json", "model_index.json", "hf_quant_config.json"):
            write = _both(good, lambda f, make=make, name=name: make(f / name))  # type: ignore[misc]
            yield Case(f"special-{kind}-{name}", write)
        for name, command in (
            ("precision_alpha_hill_results.csv", "recommend"),
            ("precision_alpha_hill_results.csv", "report"),
            ("alpha_hill_history.csv", "history"),
        ):
            yield Case(f"special-{kind}-{command}", lambda f, make=make, name=name: make(f / name), (command, "{}"))  # type: ignore[misc]
        plan = ("export", "{}/plan.json", "--model", "{}", "--format", "torchao", "-o", "{}/x.py")
        yield Case(f"special-{kind}-plan", lambda f, make=make: make(f / "plan.json"), plan)  # type: ignore[misc]
    for i, head in enumerate(
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            b"<!DOCTYPE html>",
            b"\x89HDF\r\n\x1a\n",
            b"\x1f\x8b",
            b"%PDF",
            b"\x7fELF",
            b"\0" * 600,
            b"{}",
            b"hello\n",
            b"PK\x05\x06" + b"\0" * 18,
        )
    ):
        for name in ("model.safetensors", "m.gguf", "model.pt"):
            yield Case(f"other-{i}-{name}", _file(name, head))
    yield Case("folder-empty", lambda folder: None)
    yield Case("folder-text", _file("readme.txt", "x"))


def distributed() -> Iterator[Case]:
    """Folders of torch.distributed.checkpoint."""
    metadata, data = sound("dcp/metadata"), sound("dcp_data/data")
    changes = {
        "cut": metadata[: len(metadata) // 2],
        "empty": b"",
        "noise": b"\x80\x02\xff",
        "leaves": metadata.replace(b"__0_0.distcp", b"../../passwd"),
        "absolute": metadata.replace(b"__0_0.distcp", b"/etc/passwd."),
        "other": metadata.replace(b"__0_0.distcp", b"__9_9.distcp"),
        "text": b"hello",
        "code": pickle.dumps(_Calls()),
    }
    for name, changed in changes.items():
        yield Case(f"dcp-{name}", _both(_file(".metadata", changed), _file("__0_0.distcp", data)))
    for share in (0, 0.1, 0.5, 0.99):
        yield Case(
            f"dcp-data-{share}",
            _both(_file(".metadata", metadata), _file("__0_0.distcp", data[: int(len(data) * share)])),
        )
    yield Case("dcp-zeros", _both(_file(".metadata", metadata), _file("__0_0.distcp", bytes(len(data)))))
    yield Case("dcp-alone", _file(".metadata", metadata))
    yield Case("dcp-without", _file("__0_0.distcp", data))


def results() -> Iterator[Case]:
    """What a scan, a run or a plan left."""
    table, history, plan = (
        sound("results_csv/scan").decode(),
        sound("history_csv/monitor").decode(),
        sound("plan_json/scan"),
    )
    lines = table.split("\n")

    def cells(place: int, value: str) -> str:
        row = lines[1].split(",")
        return "\n".join([lines[0], ",".join([*row[:place], value, *row[place + 1 :]]), *lines[2:]])

    whole = {
        "empty": "",
        "header": lines[0] + "\n",
        "no-columns": "a,b\n1,2\n",
        "twice": table + lines[1] + "\n",
        "cut": table[:-40],
        "nul": table + "\0",
        "no-utf8": table.replace("model", "mod\udcff"),
        "one-cell": table + "x\n",
        "quote": table + '"',
        "bom": "\ufeff" + table,
        "huge-cell": cells(0, "x" * 200_000),
        "utf16": table.encode("utf-16").decode("latin-1"),
        "column-twice": lines[0] + "," + lines[0] + "\n" + lines[1] + "," + lines[1],
        "precision": table.replace("int8", "int99"),
    }
    values = ("inf", "-1", "1e308", "nan", "x", "9" * 5000, "", "=1+1")
    odd = {
        f"{lines[0].split(',')[p]}-{v[:5]}": cells(p, v)
        for p in (2, 4, 5, 6, 12, 16, 20, 30, 40)
        for v in values[p % 2 :: 2]
    }
    for name, text in {**whole, **odd}.items():
        for command in ("report", "recommend") if name in whole else ("report",):
            content = text.encode("utf-8", "surrogateescape")
            yield Case(f"results-{command}-{name}", _file("precision_alpha_hill_results.csv", content), (command, "{}"))
    for name, text in {
        "empty": "",
        "header": history.split("\n")[0],
        "cut": history[:-30],
        "precision": history.replace("fp32", "fp99"),
        "no-columns": "a,b\n1,2\n",
        "twice": history + history.split("\n", 1)[1],
        "letters": history.replace(",0,", ",x,"),
        "no-utf8": history.replace("up", "u\udcff"),
        "quote": history + '"\n',
        "nul": history + "\0\n",
        "digits": history + "9" * 5000 + "\n",
        "inf": history.replace("fp32,", "fp32,inf,"),
    }.items():
        content = text.encode("utf-8", "surrogateescape")
        yield Case(f"history-{name}", _file("alpha_hill_history.csv", content), ("history", "{}"))
    export = ("export", "{}/plan.json", "--model", "{}", "--format", "torchao", "-o", "{}/x.py")
    content = json.loads(plan)
    plans: dict[str, Any] = {
        f"{key}-{i}": {**content, key: value}
        for key in ("layers", "settings", "policy", "version")
        for i, value in enumerate(_ODD[::3])
    }
    layer = content["layers"][0]
    plans |= {
        f"{key}-{i}": {**content, "layers": [{**layer, key: value}]}
        for key in layer
        for i, value in enumerate(_ODD[1::5])
    }
    plans |= {
        "default": {"default": 5, "overrides": []},
        "overrides": {"default": {}, "overrides": [5]},
        "list": [],
        "pattern": {"default": {"wq": "int4"}, "overrides": [{"pattern": "[" * 5000, "wq": "int8"}]},
    }
    for name, value in plans.items():
        yield Case(
            f"plan-{name}",
            _both(_file("plan.json", json.dumps(value)), _file("model.safetensors", sound("safetensors/plain"))),
            export,
        )
    for name, data in {
        "empty": b"",
        "no-utf8": b"\xff",
        "deep": b"[" * 200_000,
        "digits": b"9" * 5000,
        "cut": plan[:100],
    }.items():
        yield Case(f"plan-{name}", _file("plan.json", data), export)


def journals() -> Iterator[Case]:
    """Journals that are taken up or merged."""
    header, *rest = sound("journal/scan").split(b"\n")
    changes = {
        "empty": b"",
        "newline": b"\n",
        "list": b"[]\n",
        "number": b"5\n",
        "null": b"null\n",
        "deep": b"[" * 200_000 + b"\n",
        "no-utf8": b"\xff\xfe\n",
        "header-only": header + b"\n",
        "header-cut": header[:50] + b"\n" + b"\n".join(rest),
        "flipped": b"\n".join([header, rest[0].replace(b"1", b"3"), *rest[1:]]),
        "short": b"\n".join([header, rest[0][:100], *rest[1:]]),
        "zeros": header + b"\n" + bytes(5000) + b"\n",
    }
    for name, data in changes.items():
        place = Path("out", "journal", "rank-0.jsonl")
        good = _file("model.safetensors", sound("safetensors/plain"))

        def write(folder: Path, data: bytes = data, place: Path = place, good: Callable[[Path], object] = good) -> None:
            good(folder)
            (folder / place).parent.mkdir(parents=True)
            (folder / place).write_bytes(data)

        yield Case(f"journal-scan-{name}", write, ("scan", "{}"))
        yield Case(f"journal-merge-{name}", write, ("merge", "{}/out", "-o", "{}/merged"))


def all_cases() -> list[Case]:
    """Return every case; their names are unique."""
    kinds = (safetensors, indexes, configs, archives, gguf, special_files, distributed, results, journals)
    return [case for kind in kinds for case in kind()]
