"""Files of torch.save: every tensor is read as torch reads it, whatever it lies beside, or the file is refused."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.torch_files import strided_rows
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.stored_tensor import StoredTensor
from tests.checkpoints.torch_files.archives import rewritten
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))


def opened(content: object, file: Path, **options: Any) -> Checkpoint:
    torch.save(content, file, **options)
    return open_checkpoint(file)


def tensors_of(checkpoint: Checkpoint) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in checkpoint.tensors}


def weights_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the values of everything that is not set aside."""
    return {t.name: t.read(0, t.shape[0] if t.shape else 1) for t in checkpoint.tensors if not t.companion}


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.float8_e8m0fnu,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_dtype_is_read_bit_by_bit(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    values = torch.randint(0, 2, (7, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    saved = {"a.weight": values, "b.bias": values[0].clone(), "scalar": values[0, 0].clone(), "none": values[:0]}
    found = weights_of(opened(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped))
    assert set(found) == set(saved)
    for name, tensor in saved.items():
        assert found[name].shape == tensor.shape and found[name].dtype == dtype
        assert torch.equal(bits(found[name]), bits(tensor))


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda t: t.T,
    "every other row": lambda t: t[::2],
    "columns": lambda t: t[:, 3:9],
    "offset": lambda t: t[5:],
    "permuted": lambda t: t.reshape(8, 6, 4, 3).permute(3, 1, 0, 2),
    "diagonal": lambda t: t.diagonal(),
    "one column": lambda t: t[:, 4:5],
    "expanded along nothing": lambda t: t[:1].expand(1, -1),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("span", [64, 2**20])
def test_views_are_read_as_torch_reads_them(
    name: str, span: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strided_rows, "_SPAN", span)
    view = VIEWS[name](noise(48, 12))
    (tensor,) = opened({"a.weight": view}, tmp_path / "x.pt").tensors
    assert torch.equal(tensor.read(0, len(view)), view)
    assert torch.equal(tensor.read(1, len(view) - 1), view[1:-1])


def test_a_scattered_matrix_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []
    original = strided_rows.read_bytes

    def counted(file: Path, offset: int, count: int) -> Tensor:
        most.append(count)
        return original(file, offset, count)

    monkeypatch.setattr(strided_rows, "_SPAN", 1000)
    monkeypatch.setattr(strided_rows, "read_bytes", counted)
    matrix = noise(200, 100)
    (tensor,) = opened({"a.weight": matrix.T}, tmp_path / "x.pt").tensors
    assert torch.equal(tensor.read(10, 20), matrix.T[10:20]) and max(most) <= 1000
    most.clear()
    (tensor,) = opened({"a.weight": matrix}, tmp_path / "x.pt").tensors
    tensor.read(10, 20)
    assert most == [10 * 100 * 4]  # no byte but those of the rows


def test_big_endian_files(tmp_path: Path) -> None:
    values = noise(3, 4)
    torch.save({"a.weight": values}, tmp_path / "x.pt")

    def swap(name: str, data: bytes) -> bytes:
        swapped = struct.pack(">12f", *struct.unpack("<12f", data)) if name == "data/0" else data
        return b"big" if name == "byteorder" else swapped

    assert torch.equal(open_checkpoint(rewritten(tmp_path / "x.pt", swap)).tensors[0].read(0, 3), values)


CHANGES: dict[str, tuple[Callable[[str, bytes], bytes | None], str]] = {
    "short storage": (lambda name, data: data[:100] if name == "data/0" else data, "100 bytes for a storage of 16,384"),
    "no storage": (lambda name, data: None if name == "data/0" else data, "without the values of storage '0'"),
    "no pickle": (lambda name, data: None if name == "data.pkl" else data, "a ZIP archive"),
    "byte order": (lambda name, data: b"mid" if name == "byteorder" else data, "a byte order of 'mid'"),
    "version": (lambda name, data: b"99999" if name == "version" else data, "version '99999' of the format"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_damaged_archives_are_one_line(name: str, tmp_path: Path) -> None:
    torch.save({"a.weight": noise(64, 64)}, tmp_path / "x.pt")
    change, message = CHANGES[name]
    with pytest.raises(CheckpointError, match=rf"x\.pt: expected a .*file of .*, got .*{message}"):
        open_checkpoint(rewritten(tmp_path / "x.pt", change))


def test_a_compressed_archive_is_refused_and_never_unpacked(tmp_path: Path) -> None:
    torch.save({"a.weight": noise(64, 64)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="a compressed or encrypted archive"):
        open_checkpoint(rewritten(tmp_path / "x.pt", lambda name, data: data, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="a compressed or encrypted archive"):
        bomb = rewritten(tmp_path / "x.pt", lambda n, d: bytes(2**27) if n == "data.pkl" else d, zipfile.ZIP_DEFLATED)
        open_checkpoint(bomb)


def test_a_flipped_bit_in_the_names_is_noticed(tmp_path: Path) -> None:
    torch.save({"a.weight": noise(4, 4)}, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data.replace(b"a.weight", b"b.weight", 1))
    with pytest.raises(CheckpointError, match="'.*data.pkl' with a wrong checksum"):
        open_checkpoint(tmp_path / "x.pt")


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    values = noise(4, 4)
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a.weight": values}, tmp_path / "x.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(open_checkpoint(tmp_path / "x.pt").tensors[0].read(0, 4), values)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_while_it_is_read_is_an_error_and_no_signal(zipped: bool, tmp_path: Path) -> None:
    checkpoint = opened({"a.weight": noise(512, 512)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with (tmp_path / "x.pt").open("r+b") as handle:
        handle.truncate(400_000)
    with pytest.raises(CheckpointError, match=r"x\.pt: expected .* bytes at .*, the file ends .* Did it change"):
        checkpoint.tensors[0].read(0, 512)
    assert checkpoint.tensors[0].read(0, 100).shape == (100, 512)
    (tmp_path / "x.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="Did it change"):
        checkpoint.tensors[0].read(0, 1)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.9, 0.999])
def test_files_cut_short_before(part: float, zipped: bool, tmp_path: Path) -> None:
    torch.save({"a.weight": noise(64, 64)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CheckpointError, match=r"x\.pt: expected "):
        open_checkpoint(tmp_path / "x.pt")


def test_shared_storages_are_one_layer(tmp_path: Path) -> None:
    table = noise(40, 24)
    saved = {"model.embed_tokens.weight": table, "lm_head.weight": table, "rows.weight": table[:5]}
    checkpoint = opened(saved, tmp_path / "x.bin")
    assert checkpoint.aliases == {"lm_head.weight": "model.embed_tokens.weight"}
    assert torch.equal(weights_of(checkpoint)["rows.weight"], table[:5])


ODD: dict[str, tuple[Callable[[], Any], str]] = {
    "meta": (lambda: torch.empty(8, 6, device="meta"), "on the meta device"),
    "sparse": (lambda: noise(8, 6).to_sparse(), "stored as torch.sparse_coo"),
    "csr": (lambda: noise(8, 6).to_sparse_csr(), "stored as torch.sparse_csr"),
    "quantized": (lambda: torch.quantize_per_tensor(noise(8, 6), 0.1, 0, torch.qint8), "torch's own quantized tensors"),
    "repeated": (lambda: torch.as_strided(torch.ones(1), (2**20, 2**20), (0, 0)), "a view that repeats"),
    "conjugated": (lambda: torch.complex(noise(8, 6), noise(8, 6)).conj(), "lazily conjugated"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_values_say_so(name: str, tmp_path: Path) -> None:
    make, reason = ODD[name]
    found = tensors_of(opened({"a.weight": make(), "b.weight": noise(4, 4)}, tmp_path / "x.pt"))
    assert reason in found["a.weight"].packed and found["a.weight"].shape == make().shape
    assert found["b.weight"].packed == ""


def test_parameters_subclasses_and_ordered_dicts(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    state = model.state_dict()  # an OrderedDict with the attribute _metadata
    parameter = nn.Parameter(noise(3, 5))
    parameter.tag = "kept"  # type: ignore[attr-defined]
    found = weights_of(opened(OrderedDict(state, p=parameter), tmp_path / "x.pth"))
    assert set(found) == {*state, "p"}
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert torch.equal(found["p"], parameter.data)


def test_a_whole_module_is_read_as_its_state_dict(tmp_path: Path) -> None:
    model = nn.Module()
    model.block = nn.ModuleList([nn.Linear(6, 4, bias=False), nn.MultiheadAttention(4, 2)])
    model.head = model.block[0]
    model.register_buffer("kept", noise(2, 2))
    model.register_buffer("dropped", noise(2, 2), persistent=False)
    state = model.state_dict()
    for content in (model, {"model": model, "epoch": 3}):
        checkpoint = opened(content, tmp_path / "yolo.pt")
        found = weights_of(checkpoint)
        assert list(found) == list(state)
        assert all(torch.equal(found[name], value) for name, value in state.items())
        assert any("a whole module (torch.nn.modules.module.Module)" in note for note in checkpoint.notes)


def test_a_script_says_what_to_do(tmp_path: Path) -> None:
    names = {"code/__torch__.py": b"", "constants.pkl": b"\x80\x02)."}
    torch.save({"a.weight": noise(2, 2)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        prefix = archive.namelist()[0].partition("/")[0]
        for name, data in names.items():
            archive.writestr(f"{prefix}/{name}", data)
    with pytest.raises(CheckpointError, match=r"a TorchScript archive.*torch.jit.load\('x.pt'\).state_dict\(\)"):
        open_checkpoint(tmp_path / "x.pt")


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: expected a (regular )?file"):
        open_checkpoint(tmp_path / "x.pt")


def test_formats_of_other_programs_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="a plain pickle, not one of torch.save"):
        open_checkpoint(tmp_path / "x.pt")
