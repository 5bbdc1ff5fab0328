"""A model on the stand-in for the hub, opened and read without a download."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.remote.open_remote import open_remote
from alpha_callbacks.errors import CheckpointError, OptionError, SourceError
from tests.checkpoints.remote.conftest import QUICK, Serve
from tests.conftest import noise
from tests.support.gguf_files import write_gguf
from tests.support.stand_in_hub import COMMIT, files_of

Maker = Callable[..., Path]
CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 12}


def tensors() -> list[dict[str, torch.Tensor]]:
    first = {
        "model.embed_tokens.weight": noise(40, 12, seed=1, dtype=torch.bfloat16),
        "model.layers.0.mlp.up_proj.weight": noise(20, 12, seed=2),
        "scalar": torch.tensor(3.0),
        "empty.weight": torch.empty(0, 4),
    }
    second = {
        "model.layers.1.mlp.up_proj.weight": noise(20, 12, seed=3, dtype=torch.float16),
        "model.layers.1.mlp.down_proj.weight": noise(12, 20, seed=4).to(torch.float8_e4m3fn),
        "codes": torch.arange(24, dtype=torch.int8).reshape(4, 6),
        "index": torch.arange(5),
    }
    return [first, second]


@pytest.fixture
def folder(tiny_checkpoint: Maker) -> Path:
    return tiny_checkpoint(*tensors(), config=CONFIG)


def opened(source: str = "org/tiny", revision: str | None = None) -> Checkpoint:
    return open_remote(source, revision, patience=QUICK)


def same(found: Checkpoint, folder: Path) -> None:
    local = open_checkpoint(folder)
    assert [(t.name, t.shape, t.dtype, t.stored_dtype, t.packed) for t in found.tensors] == [
        (t.name, t.shape, t.dtype, t.stored_dtype, t.packed) for t in local.tensors
    ]
    assert (found.config, found.metadata, [file.name for file in found.files]) == (
        local.config,
        local.metadata,
        [file.name for file in local.files],
    )
    for there, here in zip(found.tensors, local.tensors, strict=True):
        rows = here.shape[0] if here.shape else 1
        for start, stop in ((0, rows), (rows // 3, rows // 2 + 1)):
            a, b = there.read(start, stop), here.read(start, stop)
            assert a.dtype is b.dtype and a.shape == b.shape
            assert torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def test_it_holds_what_the_folder_holds(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    found = opened()
    same(found, folder)
    assert found.source == "org/tiny" and found.origin is not None and found.origin.commit == COMMIT
    assert {request.path for request in hub.requests if "/resolve/" in request.path} == {
        f"/org/tiny/resolve/{COMMIT}/{name}" for name in hub.files
    }


def test_headers_longer_than_the_first_answer(serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_callbacks.checkpoints.remote.open_remote._FIRST", 5)
    serve(files_of(folder))
    same(opened(), folder)


def test_nothing_is_read_but_headers_until_rows_are(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    found = opened()
    before = hub.ranges()
    assert len(before) == 2
    tensor = next(t for t in found.tensors if t.name == "model.layers.0.mlp.up_proj.weight")
    tensor.read(5, 8)
    first, last = hub.ranges()[-1].removeprefix("bytes=").split("-")
    assert int(last) + 1 - int(first) == 3 * 12 * 4


@pytest.mark.parametrize(
    "page",
    ["org/tiny", "org/tiny/", "org/tiny/tree/main", "org/tiny/blob/main/model.safetensors.index.json",
     "org/tiny/resolve/main/model.safetensors.index.json?download=true",
     "org/tiny/resolve/main/model-00002-of-00002.safetensors", f"org/tiny/tree/{COMMIT}"],
)  # fmt: skip
def test_pages_and_files_of_the_hub_are_the_model(serve: Serve, folder: Path, page: str) -> None:
    hub = serve(files_of(folder))
    found = opened(f"{hub.hub_url}/{page}")
    same(found, folder)
    assert found.origin is not None and found.origin.commit == COMMIT


def test_files_elsewhere_by_their_index_or_one_by_one(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    base = f"{hub.storage_url}/blobs"
    found = opened(f"{base}/model.safetensors.index.json")
    same(found, folder)
    assert found.origin is not None and found.origin.commit == ""
    assert found.source == f"{base}/model.safetensors.index.json"
    one = opened(f"{base}/model-00001-of-00002.safetensors?X-Signature=7")
    assert len(one.tensors) == 4 and one.config == CONFIG
    assert "cover this file only" in one.notes[0]
    assert {request.authorization for request in hub.requests} == {""}  # the token is the hub's, not theirs


def test_files_elsewhere_without_a_config(serve: Serve) -> None:
    hub = serve({"tiny.safetensors": save(tensors()[0])})
    found = opened(f"{hub.storage_url}/blobs/tiny.safetensors")
    assert found.config == {} and "no config.json beside tiny.safetensors" in found.notes[0]


def test_a_file_in_a_folder_of_the_repository(serve: Serve) -> None:
    hub = serve({"unet/model.safetensors": save(tensors()[0]), "unet/config.json": b'{"a": 1}', "config.json": b"{}"})
    found = opened(f"{hub.hub_url}/org/tiny/blob/main/unet/model.safetensors")
    assert len(found.tensors) == 4 and found.config == {"a": 1}
    assert opened("org/tiny/unet/model.safetensors").source == found.source
    with pytest.raises(CheckpointError, match="expected weights in its top folder, found none"):
        opened()


@pytest.mark.parametrize(
    ("source", "revision", "message"),
    [
        (
            "org/unknown",
            None,
            "org/unknown: expected a model on the hub, found none of this name. Check the name; a priv",
        ),
        ("org/gated", None, "org/gated: this model is gated. Accept its terms"),
        ("org/tiny", "nosuchrevision", "expected a branch, tag or commit, found no revision 'nosuchrevision'"),
        ("not a name", None, "not a name: expected a model id"),
        ("a/b/c", None, "a/b/c: expected a model id"),
        ("../tiny", None, "../tiny: expected a model id"),
        ("file:///etc/passwd", None, "file:///etc/passwd: expected an address that begins with https:// or http://"),
        ("ftp://host/model.safetensors", None, "expected an address that begins with https:// or http://"),
        (
            "https://host.example/model.onnx",
            None,
            "host.example/model.onnx: expected a model id .*Download other formats",
        ),
        ("https://", None, "expected an address that begins with"),
        ("http://host:port/x", None, "expected an address that begins with"),
    ],
)
def test_names_that_cannot_be_opened(
    serve: Serve, folder: Path, source: str, revision: str | None, message: str
) -> None:
    serve(files_of(folder))
    with pytest.raises(CheckpointError, match=message):
        opened(source, revision)


def test_revisions(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    assert opened(revision="refs/pr/1").source == "org/tiny"
    assert "/api/models/org/tiny/revision/refs/pr/1" in {request.path for request in hub.requests}
    with pytest.raises(OptionError, match="revision: expected 'main', which the address names, got 'other'"):
        opened(f"{hub.hub_url}/org/tiny/tree/main", "other")
    with pytest.raises(OptionError, match="revision: expected a model on the hub, got http://127.0.0.1"):
        opened(f"{hub.storage_url}/blobs/model.safetensors", "main")


def test_a_push_in_between_cannot_mix_two_models(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    found = opened()
    hub.commit = "f" * 40
    hub.expire()
    with pytest.raises(CheckpointError, match="expected the file that was opened, it has changed .commit"):
        next(tensor for tensor in found.tensors if tensor.name == "codes").read(0, 1)


def test_the_fingerprint_is_what_the_server_says(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder))
    first = fingerprint(opened())
    assert first["commit"] == COMMIT
    assert first["model-00001-of-00002.safetensors"].startswith(hub.etag("model-00001-of-00002.safetensors"))
    assert fingerprint(opened()) == first
    assert len(hub.ranges()) == 4


def test_hostile_headers_are_refused_as_from_disk(serve: Serve) -> None:
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 32]}}).encode()
    contents = {
        "wrong size": len(header).to_bytes(8, "little") + header + bytes(32),
        "too long": (10**15).to_bytes(8, "little") + bytes(80),
        "no JSON": (10).to_bytes(8, "little") + b"not JSON!!" + bytes(10),
        "too short": b"abc",
        "nested": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    }
    for name, content in contents.items():
        hub = serve({"model.safetensors": content})
        with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
            opened()
        assert hub.sent < 300_000, name


def test_an_empty_file_is_refused(serve: Serve) -> None:
    serve({"model.safetensors": b""})
    with pytest.raises(CheckpointError, match="expected a file of weights, got an empty one"):
        opened()


def test_a_hostile_index_and_description(serve: Serve, folder: Path) -> None:
    files = files_of(folder)
    hub = serve(files)
    index = "model.safetensors.index.json"
    hub.files = {**files, index: json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode()}
    with pytest.raises(CheckpointError, match="leaves the folder"):
        opened(f"{hub.hub_url}/org/tiny/blob/main/{index}")
    hub.files = {**files, index: json.dumps({"weight_map": {"missing": "model-00001-of-00002.safetensors"}}).encode()}
    with pytest.raises(
        CheckpointError, match="expected 'missing' in model-00001-of-00002.safetensors, it is not there"
    ):
        opened()
    hub.files = {**files, "config.json": b"{"}
    with pytest.raises(CheckpointError, match="config.json: expected JSON"):
        opened()


def test_an_index_that_does_not_come_is_no_index_that_is_wrong(serve: Serve, folder: Path) -> None:
    serve(files_of(folder), hub_faults=["", *["503"] * 10])
    with pytest.raises(SourceError, match="model.safetensors.index.json: expected an answer, got status 503"):
        opened()


def test_other_formats_are_named_with_what_to_do(serve: Serve) -> None:
    serve({"pytorch_model.bin": b"x" * 100, "config.json": b"{}"})
    wanted = "expected .safetensors or .gguf files, .*got pytorch_model.bin. Scan the model without"
    with pytest.raises(CheckpointError, match=wanted):
        opened()


GGUF = {
    "token_embd.weight": noise(40, 64).numpy(),
    "blk.0.attn_qkv.weight": noise(192, 64).numpy(),
    "blk.0.ffn_up.weight": noise(96, 64).numpy(),
}


@pytest.mark.parametrize("parts", [1, 2])
def test_gguf_is_read_by_ranges_too(serve: Serve, tmp_path: Path, parts: int) -> None:
    pytest.importorskip("gguf")
    for number in range(parts):
        mine = dict(list(GGUF.items())[number::parts])
        name = f"m-{number + 1:05d}-of-{parts:05d}.gguf" if parts > 1 else "m.gguf"
        write_gguf(tmp_path / name, mine, arch="" if number else "llama", split=(number, parts, len(GGUF)))
    hub = serve(files_of(tmp_path))
    found = opened()
    assert found.origin is not None and sum(found.origin.sizes.values()) == pytest.approx(
        sum(map(len, hub.files.values())), rel=0.01
    )
    same(found, tmp_path)
    before = len(hub.ranges())
    next(tensor for tensor in found.tensors if tensor.name == "blk.0.ffn_up.weight").read(5, 8)
    assert len(hub.ranges()) == before + 1
    first, last = hub.ranges()[-1].removeprefix("bytes=").split("-")
    assert int(last) + 1 - int(first) == 3 * 64 * 4
    if parts == 1:
        same(opened(f"{hub.storage_url}/blobs/m.gguf"), tmp_path)
    hub.files = {name: content[:-8] + b"changed." for name, content in hub.files.items()}
    hub.expire()
    with pytest.raises(SourceError, match="expected the file that was opened, it has changed"):
        found.tensors[0].read(0, 1)


def test_a_damaged_gguf_file_is_refused_as_from_disk(serve: Serve) -> None:
    pytest.importorskip("gguf")
    for content, message in ((b"GGUF" + bytes(40), "version 0"), (b"x" * 100, "one that begins with b'xxxx'")):
        serve({"m.gguf": content})
        with pytest.raises(CheckpointError, match=f"m.gguf: expected a whole GGUF file, got {message}"):
            opened()


def test_failures_before_the_weights_are_got_over_too(serve: Serve, folder: Path) -> None:
    hub = serve(files_of(folder), hub_faults=["503", "429 0", "", "500", "503"])
    same(opened(), folder)
    assert hub.hub_faults == []


def test_weights_in_folders_below_are_said(serve: Serve, folder: Path) -> None:
    serve({**files_of(folder), "original/consolidated.00.pth": b"", "onnx/model.onnx": b""})
    found = opened()
    assert found.notes[-1] == "Folders below hold weights too, which are not read: original."
    same(found, folder)


@pytest.mark.parametrize(
    ("name", "description"),
    [("modules.json", [{"path": ""}, {"path": "2_Dense"}]), ("model_index.json", {"2_Dense": ["a", "b"]})],
)
def test_a_model_of_several_parts_is_not_read_as_one(
    serve: Serve, folder: Path, name: str, description: object
) -> None:
    files = {**files_of(folder), "2_Dense/model.safetensors": save(tensors()[0]), "1_Pooling/config.json": b"{}"}
    serve({**files, name: json.dumps(description).encode()})
    with pytest.raises(CheckpointError, match=r"got one of several parts \(2_Dense\).* Scan it without --remote"):
        opened()


def test_pieces_and_missing_shards_are_refused(serve: Serve, folder: Path) -> None:
    hub = serve({"model0-mp8.safetensors": save(tensors()[0])})
    for source in ("org/tiny", f"{hub.storage_url}/blobs/model0-mp8.safetensors"):
        with pytest.raises(CheckpointError, match=r"/model0-mp8.safetensors: expected whole matrices, got one of the"):
            opened(source)
    files = files_of(folder)
    del files["model-00002-of-00002.safetensors"]
    hub = serve(files)
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors: expected this shard .named by model"):
        opened(f"{hub.hub_url}/org/tiny/blob/main/model.safetensors.index.json")
