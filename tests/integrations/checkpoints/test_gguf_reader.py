import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.gguf_header import read_gguf_header
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.options import AnalysisOptions

OPTIONS = AnalysisOptions()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    random = np.random.default_rng(0)
    kinds = gguf.GGMLQuantizationType
    for name, rows, kind in (
        ("token_embd.weight", 40, kinds.F16),
        ("blk.10.attn_q.weight", 64, kinds.Q8_0),
        ("blk.2.attn_q.weight", 64, kinds.F32),
        ("blk.2.ffn_up.weight", 96, kinds.BF16),
    ):
        w = random.standard_normal((rows, 64)).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(w, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_tensors_in_order_with_their_own_types(file: Path) -> None:
    inventory = open_checkpoint(file).inventory(OPTIONS)
    assert [(w.layer_name, w.stored_dtype, w.out_features, w.in_features) for w in inventory.weights] == [
        ("blk.2.attn_q", "F32", 64, 64),
        ("blk.2.ffn_up", "BF16", 96, 64),
        ("blk.10.attn_q", "Q8_0", 64, 64),
        ("output", "F16", 40, 64),
    ]
    assert inventory.weights[-1].tied_to == "token_embd"


@pytest.mark.parametrize("pattern", [r"self_attn\.q_proj$", r"layers\.\d+\.self_attn", "attn_q"])
def test_a_filter_in_the_words_of_the_model_finds_the_layers(file: Path, pattern: str) -> None:
    checkpoint = open_checkpoint(file)
    names = [weight.layer_name for weight in checkpoint.inventory(AnalysisOptions(include=pattern)).weights]
    assert names == ["blk.2.attn_q", "blk.10.attn_q"]
    left = [weight.layer_name for weight in checkpoint.inventory(AnalysisOptions(exclude=pattern)).weights]
    assert left == ["blk.2.ffn_up", "output"]


def test_rows_are_dequantized_a_range_at_a_time(file: Path) -> None:
    import gguf

    tensor = next(t for t in gguf.GGUFReader(str(file)).tensors if t.name == "blk.10.attn_q.weight")
    whole = torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type)))
    weight = open_checkpoint(file).inventory(OPTIONS).weights[2]
    torch.testing.assert_close(weight.rows(5, 20), whole[5:20], rtol=0, atol=0)


def test_damaged_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(CheckpointError, match=r"x.gguf: expected a whole GGUF file"):
        open_checkpoint(tmp_path / "x.gguf")


def test_truncated_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(CheckpointError, match=r"m.gguf: expected a whole GGUF file"):
        open_checkpoint(file)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(MissingExtraError, match=r'pip install -c constraints.txt "\.\[gguf\]"'):
        open_checkpoint(tmp_path / "x.gguf")


def test_a_retrained_tensor_is_another_checkpoint(file: Path) -> None:
    before, content = fingerprint(open_checkpoint(file)), bytearray(file.read_bytes())
    header = read_gguf_header(file)
    for tensor, middle in zip(header.tensors, header.middles(), strict=True):
        assert tensor.offset <= middle < header.size
        changed = bytearray(content)
        changed[middle] ^= 1
        file.write_bytes(changed)
        assert fingerprint(open_checkpoint(file)) != before
