"""Reading by offsets, against the safetensors library: the same values, and nothing that the library refuses."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.safetensors_header import read_header
from alpha_callbacks.checkpoints.safetensors_reader import read_safetensors
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise

NAME = "a.q_proj.weight"
DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool,
    torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64,
    torch.complex64, torch.float8_e8m0fnu,
)  # fmt: skip


def raw(file: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return file


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64], **changes}


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


@pytest.mark.parametrize("shape", [(), (5,), (6, 4), (3, 2, 2), (0, 4), (4, 0)])
def test_every_dtype_is_read_as_the_library_reads_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    codes = torch.randint(0, 2, (*shape, 8), dtype=torch.uint8)
    stored = {
        str(dtype): codes[..., : dtype.itemsize].contiguous().clone().view(dtype).reshape(shape) for dtype in DTYPES
    }
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    checkpoint = read_safetensors([tmp_path / "model.safetensors"])
    assert {tensor.name for tensor in checkpoint.tensors} == set(stored)
    with safe_open(tmp_path / "model.safetensors", "pt") as library:
        for tensor in checkpoint.tensors:
            whole, found = library.get_tensor(tensor.name), tensor.read(0, shape[0] if shape else 1)
            assert (tensor.shape, found.dtype, bits(found)) == (shape, whole.dtype, bits(whole))
            if shape and shape[0] > 2:
                assert bits(tensor.read(1, 3)) == bits(whole[1:3])


def test_two_numbers_in_a_byte(tmp_path: Path) -> None:
    save_file({"a": torch.arange(8, dtype=torch.uint8).view(4, 2).view(torch.float4_e2m1fn_x2)}, tmp_path / "a.st")
    (tensor,) = read_safetensors([tmp_path / "a.st"]).tensors
    assert (tensor.shape, tensor.stored_dtype, bits(tensor.read(1, 3))) == ((4, 4), "float4_e2m1fn_x2", [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        ("C64", "complex numbers"),
        ("BOOL", "a mask"),
        ("F6_E2M3", "6-bit numbers"),
        ("I64", "int64 codes"),
        ("F4", "float4"),
    ],
)
def test_what_holds_no_weights_says_why(tmp_path: Path, dtype: str, reason: str) -> None:
    size = {"C64": 128, "BOOL": 16, "F6_E2M3": 12, "I64": 128, "F4": 8}[dtype]
    raw(tmp_path / "model.safetensors", {NAME: entry(dtype=dtype, data_offsets=[0, size])}, bytes(size))
    (weight,) = open_checkpoint(tmp_path).inventory(AnalysisOptions()).weights
    assert reason in weight.unsupported


def test_the_texts_of_the_header_are_kept(tmp_path: Path) -> None:
    save_file({"a.weight": noise(4, 4)}, tmp_path / "model-00001-of-00002.safetensors", {"format": "pt", "x": "1"})
    save_file({"b.weight": noise(4, 4)}, tmp_path / "model-00002-of-00002.safetensors", {"x": "2", "y": "3"})
    assert open_checkpoint(tmp_path).metadata == {"format": "pt", "x": "1", "y": "3"}


def test_a_file_of_paddle_comes_with_a_note_on_the_order_of_its_sides(tmp_path: Path) -> None:
    save_file({"layers.0.mlp.up_proj.weight": noise(16, 32)}, tmp_path / "model.safetensors", {"format": "pd"})
    (note,) = open_checkpoint(tmp_path).notes
    assert note.startswith("Saved by Paddle, which stores the matrices of linear layers as (in, out)")
    save_file({"layers.0.mlp.up_proj.weight": noise(16, 32)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert open_checkpoint(tmp_path).notes == ()


DAMAGED: dict[str, tuple[Any, bytes]] = {
    "overlap": ({NAME: entry(), "b": entry()}, bytes(64)),
    "gap": ({NAME: entry(data_offsets=[8, 72])}, bytes(72)),
    "trailing": ({NAME: entry()}, bytes(65)),
    "backwards": ({NAME: entry(data_offsets=[64, 0])}, bytes(64)),
    "negative shape": ({NAME: entry(shape=[-4, -4])}, bytes(64)),
    "shape of 2**64": ({NAME: entry(shape=[2**32, 2**32])}, bytes(64)),
    "2**62 columns of none": ({NAME: entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0])}, b""),
    "float shape": ({NAME: entry(shape=[4.0, 4.0])}, bytes(64)),
    "true as a size": ({NAME: entry(shape=[True, 16])}, bytes(64)),
    "65 dimensions": ({NAME: entry(shape=[1] * 63 + [4, 4])}, bytes(64)),
    "text shape": ({NAME: entry(shape="4x4")}, bytes(64)),
    "unknown dtype": ({NAME: entry(dtype="F31")}, bytes(64)),
    "dtype that is a number": ({NAME: entry(dtype=3)}, bytes(64)),
    "null": ({NAME: None}, bytes(64)),
    "list": ([1, 2], b""),
    "metadata of numbers": ({NAME: entry(), "__metadata__": {"a": 5}}, bytes(64)),
    "same name twice": (f'{{"{NAME}": {json.dumps(entry())}, "{NAME}": {json.dumps(entry())}}}'.encode(), bytes(64)),
    "no UTF-8": (b'{"\xff": 1}', b""),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "deep list": (b"{" + b"[" * 1_000_000, b""),
    "half a character": (f'{{"a\\ud800.weight": {json.dumps(entry())}}}'.encode(), bytes(64)),
    "NUL": (f'{{"a\\u0000b.weight": {json.dumps(entry())}}}'.encode(), bytes(64)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    raw(tmp_path / "model.safetensors", *DAMAGED[case])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected") as error:
        open_checkpoint(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_header_larger_than_the_format_allows_is_not_read(tmp_path: Path) -> None:
    file = raw(tmp_path / "model.safetensors", b"{", length=100_000_001)
    os.truncate(file, 200_000_000)  # sparse
    with pytest.raises(CheckpointError, match=r"a header of 100,000,001 bytes, more than the 100,000,000"):
        open_checkpoint(tmp_path)


def test_a_name_twice_among_many_is_found(tmp_path: Path) -> None:
    names = [f't{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in (*range(20_000), 19_999)]
    raw(tmp_path / "model.safetensors", ('{"' + ',"'.join(names) + "}").encode())
    with pytest.raises(CheckpointError, match="the key 't19999' twice"):  # at once: the check is not quadratic
        read_header(tmp_path / "model.safetensors")


def test_a_file_that_is_written_to_is_not_read_any_further(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({NAME: noise(40, 40)}, file)
    (tensor,) = read_safetensors([file]).tensors
    os.truncate(file, 2000)
    with pytest.raises(CheckpointError, match=r"expected the file that was opened, it has changed \(6,4.. bytes, now"):
        tensor.read(0, 40)
    file.unlink()
    with pytest.raises(CheckpointError, match="Did the file change"):
        tensor.read(0, 40)
