import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alpha_integrations.checkpoints import gguf_rows

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.weight import Weight
from tests.support.gguf_files import entry, gguf_bytes, noise, write_gguf

gguf = pytest.importorskip("gguf")

OPTIONS = AnalysisOptions()
NAME = "blk.0.ffn_up.weight"
ROWS, COLUMNS = 7, 512
INTEGERS = ("I8", "I16", "I32", "I64")
NEVER_IN_FILES = ("Q8_1", "Q8_K")  # what llama.cpp quantizes activations to; gguf cannot decode them
TYPES = [kind.name for kind in gguf.GGMLQuantizationType]


def random_bytes(kind: str, *shape: int) -> Any:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return np.random.default_rng(0).integers(0, 256, (*shape[:-1], shape[-1] // block * size), dtype=np.uint8)


def the_weight(file: Path) -> Weight:
    return next(w for w in open_checkpoint(file).inventory(OPTIONS).weights if w.layer_name == "blk.0.ffn_up")


def decoded(stored: Any, kind: str) -> torch.Tensor:
    """Return the values by the package gguf, or by what defines a type that it cannot decode."""
    if kind == "F64":
        return torch.from_numpy(stored.view(np.float64))
    if kind == "Q1_0":
        blocks = stored.reshape(-1, 18)
        bits = [[byte >> bit & 1 for byte in block[2:] for bit in range(8)] for block in blocks.astype(int)]
        scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        return torch.from_numpy(((2 * np.array(bits) - 1) * scales).astype(np.float32).reshape(len(stored), -1))
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.array(gguf.dequantize(stored, gguf.GGMLQuantizationType[kind])))


@pytest.mark.parametrize("kind", [name for name in TYPES if name not in (*INTEGERS, *NEVER_IN_FILES)])
def test_every_type_is_decoded_to_the_bit(kind: str, tmp_path: Path) -> None:
    stored = random_bytes(kind, ROWS, COLUMNS)
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: (stored, kind)}))
    whole = decoded(stored, kind)
    assert (weight.stored_dtype, weight.unsupported) == (kind, "")
    assert weight.dtype == (torch.float64 if kind == "F64" else torch.float32)
    for start, stop in ((0, ROWS), (2, 5), (6, 7)):
        rows = weight.rows(start, stop)
        torch.testing.assert_close(rows, whole[start:stop], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", NEVER_IN_FILES)
def test_what_cannot_be_decoded_is_a_row_that_names_the_type(kind: str, tmp_path: Path) -> None:
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: (random_bytes(kind, ROWS, COLUMNS), kind)}))
    assert f"stored as {kind}, which the package gguf cannot decode" in weight.unsupported


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_are_no_weights(kind: str, tmp_path: Path) -> None:
    array = np.ones((ROWS, 8), f"int{kind.removeprefix('I')}")
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: array}))
    assert weight.unsupported == f"stored as {kind} codes, which are not weights"


@pytest.mark.parametrize(
    ("number", "what"), [(31, "31 .Q4_0_4_4, which llama.cpp has removed"), (139, "139, not known")]
)
def test_a_type_that_is_not_known(number: int, what: str, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf_bytes([], [entry(NAME, (64, 4), number), entry("b.weight", (4, 2), 0, 64)], bytes(96)))
    assert weight_reason(file, what)
    assert "b" in {w.layer_name for w in open_checkpoint(file).inventory(OPTIONS).weights}


def weight_reason(file: Path, what: str) -> bool:
    return re.search(f"stored as ggml type {what}", the_weight(file).unsupported) is not None


@pytest.mark.parametrize("read", [1, 300, 600])
def test_rows_are_decoded_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int) -> None:
    monkeypatch.setattr(gguf_rows, "_PIECE", 256)
    monkeypatch.setattr(gguf_rows, "_READ", read)  # bytes; a piece has 272
    stored = random_bytes("Q8_0", ROWS, 96)
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: (stored, "Q8_0")}))
    whole = decoded(stored, "Q8_0")
    for start in range(ROWS):
        for stop in range(start, ROWS + 1):
            torch.testing.assert_close(weight.rows(start, stop), whole[start:stop], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [[-8, -64], [8, 65], []])
def test_a_shape_that_holds_other_numbers_is_not_taken(shape: list[int], tmp_path: Path) -> None:
    about = {f"comfy.gguf.orig_shape.{NAME}": shape} if shape else {}
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: noise(8, 64)}, arch="flux", numbers=about))
    assert (weight.out_features, weight.in_features) == (8, 64)


def test_rows_that_are_no_whole_blocks(tmp_path: Path) -> None:
    """ComfyUI-GGUF folds them into rows that are, and keeps the shape beside them."""
    stored = random_bytes("Q4_0", 5 * 3, 32)
    shape = {f"comfy.gguf.orig_shape.{NAME}": [10, 48]}
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: (stored, "Q4_0")}, arch="flux", numbers=shape))
    whole = decoded(stored, "Q4_0").reshape(10, 48)
    assert (weight.out_features, weight.in_features) == (10, 48)
    torch.testing.assert_close(weight.rows(3, 8), whole[3:8], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_floats_with_the_highest_byte_first(kind: str, tmp_path: Path) -> None:
    array = noise(6, 64).astype(kind)
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: array}, big_endian=True))
    torch.testing.assert_close(weight.rows(1, 4).numpy(), array[1:4].astype(weight.rows(0, 1).numpy().dtype))


@pytest.mark.parametrize("kind", [name for name in TYPES if name not in (*INTEGERS, "F64", "F32", "F16")])
def test_blocks_with_the_highest_byte_first_are_decoded_only_where_bytes_have_no_order(
    kind: str, tmp_path: Path
) -> None:
    stored = random_bytes(kind, ROWS, COLUMNS)
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: (stored, kind)}, big_endian=True))
    if kind in ("MXFP4", "NVFP4"):
        torch.testing.assert_close(weight.rows(0, ROWS), decoded(stored, kind), rtol=0, atol=0)
    else:
        assert f"stored as {kind} with the highest byte first" in weight.unsupported


def test_scales_beside_blocks_are_part_of_the_weight(tmp_path: Path) -> None:
    up, experts = random_bytes("NVFP4", 4, 64), random_bytes("NVFP4", 2, 3, 64)
    file = write_gguf(
        tmp_path / "m.gguf",
        {
            NAME: (up, "NVFP4"),
            "blk.0.ffn_up.scale": np.array([0.25], np.float32),
            "blk.0.ffn_down_exps.weight": (experts, "NVFP4"),
            "blk.0.ffn_down_exps.scale": np.array([2, 3], np.float32),
            "blk.0.ffn_gate_inp.weight": noise(2, 64),
            "blk.0.ffn_gate_inp.scale": noise(64),  # of the router's input, in Gemma 4
        },
    )
    inventory = open_checkpoint(file).inventory(OPTIONS)
    found = {w.layer_name: w.rows(0, w.out_features) for w in inventory.weights}
    torch.testing.assert_close(found["blk.0.ffn_up"], decoded(up, "NVFP4") * 0.25, rtol=0, atol=0)
    torch.testing.assert_close(found["blk.0.1.ffn_down_exps"], decoded(experts[1], "NVFP4") * 3, rtol=0, atol=0)
    torch.testing.assert_close(found["blk.0.ffn_gate_inp"].numpy(), noise(2, 64), rtol=0, atol=0)
    reasons = {skipped.name: skipped.reason for skipped in inventory.skipped}
    assert reasons["blk.0.ffn_up.scale"] == "scales of blk.0.ffn_up"
    assert reasons["blk.0.ffn_gate_inp.scale"] == "1-D, has no spectrum"


@pytest.mark.parametrize(
    ("entries", "data", "what"),
    [
        ([entry("a", (48,), 2)], bytes(64), "rows of 48 values in Q4_0 blocks of 32 for 'a'"),
        ([entry("a", (16, 4))], bytes(128), "256 bytes where 128 are left for 'a'"),
        ([entry("a", (2**62, 4))], bytes(64), "bytes where 64 are left for 'a'"),
        ([entry("a", (16,)), entry("b", (16,), 0, 32)], bytes(128), "bytes that overlap those of 'a' for 'b'"),
    ],
)
def test_entries_that_cannot_be(entries: list[bytes], data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes([], entries, data))
    with pytest.raises(CheckpointError, match=f"m.gguf: expected a whole GGUF file, got .*{what}"):
        open_checkpoint(tmp_path / "m.gguf")


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    weight = the_weight(write_gguf(tmp_path / "m.gguf", {NAME: noise(8, 64)}))
    (tmp_path / "m.gguf").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"m.gguf: .* Did the file change\?"):
        weight.rows(0, 8)
    (tmp_path / "m.gguf").unlink()
    with pytest.raises(CheckpointError, match="m.gguf: expected to read its tensors, got No such file"):
        weight.rows(0, 8)
