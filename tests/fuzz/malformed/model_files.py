"""Safetensors files, indexes and configs that are malformed."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from tests.fuzz.malformed.case import NAME, ODD, Case, both, one_file, packed, sound, tensor


def safetensors() -> Iterator[Case]:
    """Headers that lie, and JSON that is none."""
    entry = json.dumps(tensor()).encode()
    headers: dict[str, Any] = {
        "overlap": {NAME: tensor(), "b.weight": tensor()},
        "gap": {NAME: tensor(data_offsets=[4, 1028])},
        "backwards": {NAME: tensor(data_offsets=[1024, 0])},
        "null": {NAME: None},
        "list": [1, 2],
        "number": 5,
        "metadata-number": {NAME: tensor(), "__metadata__": {"a": 5}},
        "metadata-list": {NAME: tensor(), "__metadata__": [1]},
        "no-tensors": {},
        "no-name": {"": tensor()},
        "no-stem": {".weight": tensor()},
        "three-offsets": {NAME: tensor(data_offsets=[0, 1024, 2048])},
        "one-layer-twice": {"a.weight": tensor(), "a.qweight": tensor(data_offsets=[1024, 2048])},
        "same-key": b'{"a.weight":' + entry + b',"a.weight":' + entry + b"}",
        "no-utf8": b'{"\xff\xfe.weight":' + entry + b"}",
        "surrogate": b'{"a\\ud800.weight":' + entry + b"}",
        "nul": b'{"a\\u0000.weight":' + entry + b"}",
        "escape": b'{"a\\u001b]52;c;eA==\\u0007.weight":' + entry + b"}",
        "newline": b'{"a\\r\\nb.weight":' + entry + b"}",
        "long-name": {"x" * 100_000 + ".weight": tensor()},
        "deep-object": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "deep-list": b"[" * 2_000_000,
        "deep-shape": b'{"a":{"dtype":"F32","shape":' + b"[" * 5000 + b"]" * 5000 + b',"data_offsets":[0,1024]}}',
        "digits": b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,1024]}}',
        "no-json": b"hello world",
        "spaces": b" " * 1000,
        "bom": b"\xef\xbb\xbf{}",
    }
    for name, header in headers.items():
        yield Case(f"safetensors-{name}", one_file("model.safetensors", packed(header)))
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
        data = packed({NAME: tensor(shape=shape)})
        yield Case(f"safetensors-shape-{json.dumps(shape)[:20]}", one_file("model.safetensors", data))
    for shape in ([0, 2**62], [2**62, 0], [0, 16], [0]):
        header = {NAME: tensor(shape=shape, data_offsets=[0, 0]), "b.weight": tensor()}
        yield Case(f"safetensors-empty-{shape}", one_file("model.safetensors", packed(header)))
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
        header = {NAME: tensor(dtype=dtype, data_offsets=[0, len(data)])}
        yield Case(f"safetensors-dtype-{dtype}", one_file("model.safetensors", packed(header, data)))
    for length in (0, 10, 2**31, 2**63 - 1, 2**64 - 1):
        data = packed({NAME: tensor()}, length=length)
        yield Case(f"safetensors-length-{length}", one_file("model.safetensors", data))
    whole = sound("safetensors/plain")
    for cut in (0, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        yield Case(f"safetensors-cut-{cut}", one_file("model.safetensors", whole[:cut]))
    yield Case("safetensors-more", one_file("model.safetensors", whole + bytes(100)))
    names = {
        f"model.layers.{i}.mlp.up_proj.weight": tensor(shape=[1, 1], data_offsets=[4 * i, 4 * i + 4])
        for i in range(20_000)
    }
    yield Case("safetensors-20000-tensors", one_file("model.safetensors", packed(names, bytes(80_000))), big=True)
    long = {NAME: tensor(), "__metadata__": {"x": "a" * 90 * 2**20}}
    yield Case("safetensors-90MB-header", lambda f: (f / "model.safetensors").write_bytes(packed(long)), big=True)
    dims = {NAME: tensor(shape=[1] * 2_000_000 + [16, 16])}
    yield Case("safetensors-2e6-dims", lambda f: (f / "model.safetensors").write_bytes(packed(dims)), big=True)


def indexes() -> Iterator[Case]:
    """Indexes that lead elsewhere, or nowhere."""
    shard, file = one_file("s.safetensors", sound("safetensors/plain")), "model.safetensors.index.json"
    places: tuple[Any, ...] = (
        *ODD,
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
        yield Case(f"index-place-{i}", both(shard, one_file(file, json.dumps({"weight_map": {NAME: place}}))))
    for i, content in enumerate((*ODD, [NAME], "s.safetensors", {"a": "s.safetensors", "b": 5})):
        yield Case(f"index-map-{i}", both(shard, one_file(file, json.dumps({"weight_map": content}))))
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
        yield Case(f"index-{name}", both(shard, one_file(file, data)))


def configs() -> Iterator[Case]:
    """Configs whose values are of another kind."""
    weights, base = one_file("model.safetensors", sound("safetensors/fused")), json.loads(sound("config_json/phi"))
    fields = (
        *base,
        "head_dim",
        "vocab_size",
        "layer_types",
        "quantization_config",
        "num_experts",
        "torch_dtype",
    )
    for i, (key, value) in enumerate(product(fields, ODD)):
        if i % 2:  # half of them: 16 fields with 15 values each
            yield Case(
                f"config-{key}-{ODD.index(value)}",
                both(weights, one_file("config.json", json.dumps({**base, key: value}))),
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
            yield Case(f"config-{kind}-{heads}", both(weights, one_file("config.json", json.dumps(config))))
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
        yield Case(f"config-{name}", both(weights, one_file("config.json", data)))
    for method in ("gptq", "fp8", "compressed", "bitnet"):
        config = json.loads(sound(f"quantization_config/{method}"))["quantization_config"]
        for i, (key, value) in enumerate(product(config, (None, -1, 0, 10**18, "x", [], {}, [0, 0], [[]]))):
            if i % 3 == 0:
                changed = one_file("config.json", json.dumps({"quantization_config": {**config, key: value}}))
                codes = one_file("model.safetensors", sound(f"stored_codes/{method}"))
                yield Case(f"stored-{method}-{key}-{i}", both(codes, changed))
    adapter = json.loads(sound("adapter_config/lora"))
    for i, (key, value) in enumerate(product(adapter, ODD)):
        if i % 6 == 0:
            factors = one_file("adapter_model.safetensors", sound("adapter_weights/lora"))
            changed = one_file("adapter_config.json", json.dumps({**adapter, key: value}))
            yield Case(f"adapter-{key}-{i}", both(factors, changed))
