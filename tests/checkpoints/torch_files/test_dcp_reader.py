"""Distributed checkpoints: the same values as torch's own loader gives, whatever the pieces; nothing partial."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex
from torch.distributed.checkpoint.state_dict_saver import save

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.torch_files.chunks import Chunk, Chunked, require_whole
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))
STATE = {"layers.0.fc1.weight": noise(12, 8), "layers.0.fc1.bias": noise(12, 1)[:, 0], "scalar": torch.tensor(3.0)}

pytestmark = pytest.mark.filterwarnings("ignore")


def saved(content: dict[str, Any], folder: Path) -> Path:
    save(content, checkpoint_id=str(folder), no_dist=True)
    return folder


def values_of(folder: Path) -> dict[str, Tensor]:
    return {t.name: t.read(0, t.shape[0] if t.shape else 1) for t in open_checkpoint(folder).tensors if not t.companion}


@pytest.mark.parametrize("wrap", [("model",), ("state_dict",), ("app", "model"), ()])
def test_the_state_dict_that_was_saved_comes_back(wrap: tuple[str, ...], tmp_path: Path) -> None:
    content: dict[str, Any] = dict(STATE)
    for name in reversed(wrap):
        content = {name: content, "step": 3}
    found = values_of(saved(content, tmp_path / "x.ckpt"))
    assert set(found) == set(STATE)
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.float64], ids=str)
def test_dtypes(dtype: torch.dtype, tmp_path: Path) -> None:
    values = noise(6, 4).to(dtype)
    found = values_of(saved({"a.weight": values, "b.weight": values.T}, tmp_path / "d"))
    assert torch.equal(found["a.weight"].float(), values.float()) and found["a.weight"].dtype == dtype
    assert torch.equal(found["b.weight"].float(), values.T.float())


def test_optimizer_states_are_sorted_out_with_a_reason(tmp_path: Path) -> None:
    layer = torch.nn.Linear(8, 12)
    model = torch.nn.Sequential(layer)
    optimizer = torch.optim.Adam(model.parameters())
    model(noise(2, 8)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    folder = saved(content, tmp_path / "checkpoint-10" / "pytorch_model_fsdp_0")
    inventory = open_checkpoint(folder).inventory(OPTIONS)
    assert [weight.out_features for weight in inventory.weights] == [12]
    reasons = {tensor.name: tensor.reason for tensor in inventory.skipped}
    assert reasons["optimizer.state.0.exp_avg"] == "optimizer state, not a weight"
    assert torch.equal(inventory.weights[0].rows(3, 9), layer.weight.detach()[3:9])
    for parent in (folder.parent,):  # Trainer's folder of one checkpoint
        assert torch.equal(open_checkpoint(parent).inventory(OPTIONS).weights[0].rows(0, 12), layer.weight.detach())


def _chunked(folder: Path, change: Callable[[Metadata], None]) -> Path:
    file = folder / ".metadata"
    metadata = pickle.loads(file.read_bytes())
    change(metadata)
    file.write_bytes(pickle.dumps(metadata))
    return folder


def _cut(metadata: Metadata) -> None:
    del metadata.state_dict_metadata["a.weight"].chunks[0]  # type: ignore[union-attr]


def _overlap(metadata: Metadata) -> None:
    entry = metadata.state_dict_metadata["a.weight"]
    entry.chunks.append(entry.chunks[0])  # type: ignore[union-attr]


def _outside(metadata: Metadata) -> None:
    metadata.state_dict_metadata["a.weight"].size = torch.Size((5, 4))  # type: ignore[union-attr]


def _elsewhere(metadata: Metadata) -> None:
    metadata.storage_data[MetadataIndex("a.weight", (0, 0))].relative_path = "../x"


def _unlisted(metadata: Metadata) -> None:
    del metadata.storage_data[MetadataIndex("a.weight", (0, 0))]


def _long(metadata: Metadata) -> None:
    metadata.storage_data[MetadataIndex("a.weight", (0, 0))].length += 10**9


def _wrong(metadata: Metadata) -> None:
    entry = metadata.state_dict_metadata["a.weight"]
    entry.size, entry.chunks = torch.Size((4, 6)), [ChunkStorageMetadata(torch.Size((0, 0)), torch.Size((4, 6)))]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cut, "'a.weight' in 0 chunks with 0 of 24 elements"),
        (_overlap, "'a.weight' in 2 chunks that overlap"),
        (_outside, r"'a.weight' in a chunk \(6, 4\) at \(0, 0\) of a tensor \(5, 4\)"),
        (_elsewhere, "a chunk without a file in this folder"),
        (_unlisted, "a chunk of 'a.weight' that is in no file"),
        (_long, "expected 1,000,"),
    ],
)
def test_holes_overlaps_and_lost_files_are_refused(
    change: Callable[[Metadata], None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(_chunked(saved({"a.weight": noise(6, 4)}, tmp_path / "d"), change))
    assert "\n" not in str(caught.value)


def test_a_chunk_of_another_shape_is_refused_when_it_is_read(tmp_path: Path) -> None:
    (tensor,) = open_checkpoint(_chunked(saved({"a.weight": noise(6, 4)}, tmp_path / "d"), _wrong)).tensors
    with pytest.raises(CheckpointError, match=r"expected a chunk of shape \(4, 6\)"):
        tensor.read(0, 4)


def test_missing_files_and_parts_that_are_named_alone(tmp_path: Path) -> None:
    folder = saved({"a.weight": noise(6, 4)}, tmp_path / "d")
    for name in ("__0_0.distcp", ".metadata"):
        with pytest.raises(CheckpointError, match="a part of a distributed checkpoint. Name its folder"):
            open_checkpoint(folder / name)
    (folder / "__0_0.distcp").rename(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"__0_0.distcp: expected this file \(named by .metadata\)"):
        open_checkpoint(folder)
    (folder / ".metadata").unlink()
    (tmp_path / "x").rename(folder / "__0_0.distcp")
    with pytest.raises(CheckpointError, match=r"\.metadata"):
        open_checkpoint(folder)


def test_metadata_run_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "owned"),))

    folder = saved({"a.weight": noise(6, 4)}, tmp_path / "d")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.planner_data["x"] = Evil()
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    assert torch.equal(values_of(folder)["a.weight"], noise(6, 4)) and not (tmp_path / "owned").exists()
    for content in (b"", b"\x80\x04.", b"\x80\x04}.", b"text"):
        (folder / ".metadata").write_bytes(content)
        with pytest.raises(CheckpointError, match="expected the metadata of a distributed checkpoint"):
            open_checkpoint(folder)


def rows_of(part: Tensor, start: int, stop: int) -> Tensor:
    return part[start:stop]


@pytest.mark.parametrize("shape", [(7,), (7, 5), (6, 5, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_any_grid_of_chunks(shape: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(shape, generator=generator)
    boxes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((0,) * len(shape), shape)]
    for _ in range(6):  # cut a box in two, again and again
        offsets, sizes = boxes.pop(int(torch.randint(len(boxes), (1,), generator=generator)))
        at = int(torch.randint(len(shape), (1,), generator=generator))
        cut = int(torch.randint(sizes[at] + 1, (1,), generator=generator))
        first = (*sizes[:at], cut, *sizes[at + 1 :])
        boxes += [(offsets, first), ((*offsets[:at], offsets[at] + cut, *offsets[at + 1 :]),
                                     (*sizes[:at], sizes[at] - cut, *sizes[at + 1 :]))]  # fmt: skip
    require_whole(shape, boxes)
    parts = []
    for offsets, sizes in boxes:
        part = whole[tuple(slice(o, o + n) for o, n in zip(offsets, sizes, strict=True))]
        parts.append(Chunk(offsets, sizes, partial(rows_of, part)))
    tensor = Chunked(shape, whole.dtype, tuple(parts))
    for start in range(shape[0]):
        for stop in range(start, shape[0] + 1):
            assert torch.equal(tensor.rows(start, stop), whole[start:stop])
    full = next(i for i, (_, sizes) in enumerate(boxes) if all(sizes))
    with pytest.raises(ValueError, match="elements"):
        require_whole(shape, boxes[:full] + boxes[full + 1 :])
    with pytest.raises(ValueError, match="overlap"):
        require_whole(shape, [*boxes, boxes[full]])
