from pathlib import Path
from typing import Any

import pytest

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.support.gguf_files import noise, write_gguf

pytest.importorskip("gguf")

TENSORS = {
    "token_embd.weight": noise(40, 64),
    "blk.0.attn_qkv.weight": noise(192, 64),
    "blk.0.ffn_up.weight": noise(96, 64),
}
NAMES = list(TENSORS)
HALVES = ((NAMES[:2], NAMES[2:]), ([], NAMES))  # the second: --no-tensor-first-split


def split(folder: Path, groups: Any, *, count: int | None = None, tensors: int = 3, first: int = 0) -> list[Path]:
    files = []
    for number, names in enumerate(groups):
        path = folder / f"m-{number + 1:05d}-of-{len(groups):05d}.gguf"
        said = (number + first, count or len(groups), tensors)
        files.append(write_gguf(path, {n: TENSORS[n] for n in names}, arch="" if number else "llama", split=said))
    return files


def rows(path: Path) -> list[tuple[str, str, int, str]]:
    weights = open_checkpoint(path).inventory(AnalysisOptions()).weights
    return [(w.layer_name, w.category, w.out_features, w.tied_to) for w in weights]


@pytest.mark.parametrize("groups", HALVES)
@pytest.mark.parametrize("named", ["folder", "first file", "last file"])
def test_a_split_model_is_the_model(groups: Any, named: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one = write_gguf(tmp_path / "one" / "m.gguf", TENSORS)
    files = split(tmp_path / "many", groups)
    named_path = {"folder": tmp_path / "many", "first file": files[0], "last file": files[-1]}[named]
    assert rows(named_path) == rows(one)
    assert open_checkpoint(named_path).files == tuple(files)
    assert ("output", "lm_head", 40, "token_embd") in rows(one)
    assert ("blk.0.attn_qkv.k", "attn_k", 64, "") in rows(one)


def test_a_missing_file(tmp_path: Path) -> None:
    files = split(tmp_path, HALVES[0])
    files[1].unlink()
    with pytest.raises(CheckpointError, match=r"m-00001-of-00002.gguf: expected file 1 of 1 .* split 0 .from 0. of 2"):
        open_checkpoint(files[0])
    with pytest.raises(CheckpointError, match="expected 2 shards, found 1"):
        open_checkpoint(tmp_path)


def test_a_file_that_has_lost_its_name(tmp_path: Path) -> None:
    files = split(tmp_path, HALVES[0])
    lost = files[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(CheckpointError, match=r"renamed.gguf: expected file 1 of 1 .* says split 0 .from 0. of 2"):
        open_checkpoint(lost)


def test_files_of_two_models(tmp_path: Path) -> None:
    files = split(tmp_path, HALVES[0], first=1)
    with pytest.raises(CheckpointError, match=r"expected file 1 of 2 .* says split 1 \(from 0\) of 2"):
        open_checkpoint(files[0])
    files = split(tmp_path, HALVES[0], tensors=4)
    with pytest.raises(CheckpointError, match="expected 4 tensors in 2 files, got 3"):
        open_checkpoint(files[0])
    split(tmp_path, HALVES[0], count=3)
    with pytest.raises(CheckpointError, match=r"expected file 1 of 2 .* says split 0 \(from 0\) of 3"):
        open_checkpoint(files[0])


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    split(tmp_path, (NAMES[:2], NAMES[1:]), tensors=4)
    with pytest.raises(
        CheckpointError, match="expected each tensor once, got 'blk.0.attn_qkv.weight' here and in m-00001"
    ):
        open_checkpoint(tmp_path)
