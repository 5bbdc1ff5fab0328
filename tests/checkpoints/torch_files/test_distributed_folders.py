"""Folders of DeepSpeed, Megatron, torchtitan and Llama releases: whole weights or a reason, never halves."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict_saver import save

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from tests.conftest import noise

STATE = {"layers.0.fc1.weight": noise(12, 8), "layers.0.fc1.bias": noise(12, 1)[:, 0]}
OPTIMIZER = {"optimizer_state_dict": {"single_partition_of_fp32_groups": [noise(9, 9)]}}


def deepspeed(root: Path, *names: str, shells: bool = False) -> Path:
    """Write a folder as DeepSpeed does."""
    step = root / "global_step10"
    step.mkdir(parents=True)
    (root / "latest").write_text("global_step10")
    module = {name: torch.zeros(0) for name in STATE} if shells else STATE
    for name in names:
        torch.save(OPTIMIZER if "optim" in name else {"module": module, "ds_version": "0.18"}, step / name)
    return root


def test_deepspeed_is_followed_to_its_whole_weights(tmp_path: Path) -> None:
    optimizer = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    root = deepspeed(tmp_path / "checkpoint-10", "mp_rank_00_model_states.pt", optimizer)
    for path in (root, root / "global_step10", root / "global_step10" / "mp_rank_00_model_states.pt"):
        (weight, _) = open_checkpoint(path).tensors
        assert weight.name == "layers.0.fc1.weight" and torch.equal(weight.read(2, 5), STATE[weight.name][2:5])
    assert open_checkpoint(root).notes[0] == "checkpoint-10 is read as global_step10, which its file `latest` names."
    torch.save(
        STATE, root / "global_step10" / "pytorch_model.bin"
    )  # as zero_to_fp32.py writes it: whole weights go first
    assert [file.name for file in open_checkpoint(root / "global_step10").files] == ["pytorch_model.bin"]
    (root / "global_step10" / "pytorch_model.bin").unlink()
    (root / "latest").write_text("global_step20")
    with pytest.raises(CheckpointError, match="expected the name of a folder beside it, got 'global_step20'"):
        open_checkpoint(root)
    save_file({"other.weight": noise(4, 4)}, root / "model.safetensors")  # what Trainer gathers goes first
    assert [tensor.name for tensor in open_checkpoint(root).tensors] == ["other.weight"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"), "zero_to_fp32.py"),
        (("mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"), "2 pieces of tensor parallelism"),
        (
            ("layer_00-model_00-model_states.pt", "mp_rank_00_model_states.pt"),
            "layers or experts in files of their own",
        ),
        (("layer_0_expert_1_mp_rank_00_model_states.pt", "mp_rank_00_model_states.pt"), "layers or experts"),
        (("bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",), "the states of an optimizer only"),
    ],
)
def test_parts_of_deepspeed_are_refused_with_the_reason(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    root = deepspeed(tmp_path, *names, shells=names[0].startswith("zero"))
    for path in (root, root / "global_step10", root / "global_step10" / names[0]):
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_empty_shells_are_refused_in_any_file(suffix: str, tmp_path: Path) -> None:
    shells = {"a.weight": torch.zeros(0), "b.weight": noise(4, 4)}
    file = tmp_path / f"model.{suffix}"
    save_file(shells, file) if suffix == "safetensors" else torch.save(shells, file)
    with pytest.raises(CheckpointError, match=r"an empty shell of shape \[0\] for 'a.weight'.*zero_to_fp32.py"):
        open_checkpoint(tmp_path)


def test_megatron_is_read_from_one_rank_and_refused_from_several(tmp_path: Path) -> None:
    for rank in ("mp_rank_00", "mp_rank_01"):
        (tmp_path / rank).mkdir()
        torch.save({"model": {"language_model": STATE}}, tmp_path / rank / "model_optim_rng.pt")
        if rank == "mp_rank_00":
            names = [tensor.name for tensor in open_checkpoint(tmp_path).tensors]
            assert names == [f"language_model.{name}" for name in STATE]
    for path in (tmp_path, tmp_path / "mp_rank_00" / "model_optim_rng.pt"):
        with pytest.raises(CheckpointError, match=r"a model-parallel run of Megatron \(mp_rank_00, mp_rank_01\)"):
            open_checkpoint(path)


@pytest.mark.filterwarnings("ignore")
def test_stacked_layers_of_megatron_are_layers(tmp_path: Path) -> None:
    stacked, norms = torch.stack([noise(6, 4, seed=i) for i in range(3)]), noise(3, 4)
    content = {"decoder.layers.mlp.linear_fc2.weight": stacked, "decoder.layers.input_layernorm.weight": norms}
    save(content, checkpoint_id=str(tmp_path / "iter_0000001"), no_dist=True)
    (tmp_path / "iter_0000001" / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist"}))
    found = {tensor.name: tensor for tensor in open_checkpoint(tmp_path / "iter_0000001").tensors}
    assert len(found) == 6 and found["decoder.layers.2.input_layernorm.weight"].shape == (4,)
    assert torch.equal(found["decoder.layers.1.mlp.linear_fc2.weight"].read(2, 5), stacked[1, 2:5])


def ranks(folder: Path, *boxes: tuple[tuple[int, int], tuple[int, int]]) -> Path:
    """Write one file for each box of (12, 8), as the ranks of HuggingFaceStorageWriter do."""
    folder.mkdir()
    for i, ((row, column), (height, width)) in enumerate(boxes, 1):
        part = STATE["layers.0.fc1.weight"][row : row + height, column : column + width].contiguous()
        info = json.dumps({"layers.0.fc1.weight": {"saved_offsets": [row, column]}})
        file = folder / f"shard-{i:05d}-model-00001-of-00001.safetensors"
        save_file({"layers.0.fc1.weight": part}, file, metadata={"DCP_SHARDING_INFO": info, "format": "pt"})
    return folder


def test_safetensors_of_ranks_are_joined_by_their_offsets(tmp_path: Path) -> None:
    folder = ranks(tmp_path / "d", ((0, 0), (7, 5)), ((7, 0), (5, 5)), ((0, 5), (12, 3)))
    checkpoint = open_checkpoint(folder)
    assert torch.equal(checkpoint.tensors[0].read(3, 9), STATE["layers.0.fc1.weight"][3:9])
    assert "files of 3 ranks" in " ".join(checkpoint.notes)
    with pytest.raises(CheckpointError, match="a part of a distributed checkpoint. Name its folder"):
        open_checkpoint(folder / "shard-00001-model-00001-of-00001.safetensors")
    (folder / "shard-00002-model-00001-of-00001.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected the files of all ranks, got \[1, 3\]"):
        open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"2 chunks with .* of 96 elements"):
        open_checkpoint(ranks(tmp_path / "hole", ((0, 0), (7, 5)), ((7, 0), (5, 8))))


def llama(width: int = 16, heads: int = 4, keys: int = 2) -> dict[str, Tensor]:
    """Return a model of Llama's names."""
    size = width // heads
    shapes = {
        "attention.wq": (width, width), "attention.wk": (keys * size, width), "attention.wv": (keys * size, width),
        "attention.wo": (width, width), "feed_forward.w1": (24, width), "feed_forward.w2": (width, 24),
        "feed_forward.w3": (24, width),
    }  # fmt: skip
    state = {f"layers.0.{name}.weight": noise(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    tables = {"tok_embeddings.weight": noise(20, width, seed=8), "output.weight": noise(20, width, seed=9)}
    return {**state, **tables, "norm.weight": noise(width, 1)[:, 0], "layers.0.ffn_norm.weight": noise(width, 1)[:, 0]}


def pieces(state: dict[str, Tensor], count: int, folder: Path, *, embedding: int) -> Path:
    """Cut a model as fairscale does."""
    columns = {"attention.wo", "feed_forward.w2"}

    def cut(name: str, tensor: Tensor, i: int) -> Tensor:
        if tensor.ndim == 1:
            return tensor
        dim = embedding if name.startswith("tok") else int(any(part in name for part in columns))
        return tensor.chunk(count, dim)[i].clone()

    folder.mkdir()
    for i in range(count):
        torch.save({name: cut(name, tensor, i) for name, tensor in state.items()}, folder / f"consolidated.{i:02d}.pth")
    return folder


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("embedding", [0, 1])
def test_pieces_of_llama_are_joined(count: int, embedding: int, tmp_path: Path) -> None:
    state = llama()
    folder = pieces(state, count, tmp_path / "original", embedding=embedding)
    (folder / "params.json").write_text(json.dumps({"dim": 16, "n_heads": 4, "n_kv_heads": 2}))
    for path in (folder, folder / "consolidated.00.pth"):  # one stands for all
        found = {tensor.name: tensor for tensor in open_checkpoint(path).tensors}
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert found[name].shape == tensor.shape
            assert torch.equal(found[name].read(0, len(tensor)), tensor)
            assert torch.equal(found[name].read(3, 7), tensor[3:7])


def test_keys_that_all_pieces_hold_are_not_joined(tmp_path: Path) -> None:
    state = llama(keys=1)
    folder = pieces(state, 2, tmp_path / "original", embedding=0)
    for i in range(2):
        file = folder / f"consolidated.{i:02d}.pth"
        whole = {name: tensor for name, tensor in state.items() if "wk" in name or "wv" in name}
        torch.save({**torch.load(file), **whole}, file)
    found = {tensor.name: tensor for tensor in open_checkpoint(folder).tensors}
    assert torch.equal(found["layers.0.attention.wk.weight"].read(0, 4), state["layers.0.attention.wk.weight"])


def _drop(folder: Path) -> None:
    (folder / "consolidated.01.pth").unlink()


def _add(folder: Path) -> None:
    torch.save(llama(), folder / "consolidated.02.pth")


def _unknown(folder: Path) -> None:
    for i in range(2):
        file = folder / f"consolidated.{i:02d}.pth"
        torch.save({**torch.load(file), "layers.0.moe.weight": noise(4, 16, seed=i)}, file)


def _other_names(folder: Path) -> None:
    file = folder / "consolidated.01.pth"
    torch.save({**torch.load(file), "more.weight": noise(4, 16)}, file)


def _heads(folder: Path) -> None:
    (folder / "params.json").write_text(json.dumps({"dim": 16, "n_heads": 4, "n_kv_heads": 1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, "1 of 2 pieces: the queries have 8 of 16 rows"),
        (_add, "3 of 2 pieces"),
        (_unknown, "'layers.0.moe.weight' of shape .* divided in a way that is not known"),
        (_other_names, "pieces that do not hold the same tensors"),
        (_heads, "'layers.0.attention.wk.weight' of shape .* divided in a way that is not known"),
    ],
)
def test_incomplete_or_unknown_pieces_are_refused(change: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = pieces(llama(), 2, tmp_path / "original", embedding=0)
    change(folder)
    with pytest.raises(
        CheckpointError, match=rf"consolidated\.00\.pth: expected the pieces of a Llama release, got {message}"
    ):
        open_checkpoint(folder)


@pytest.mark.filterwarnings("ignore")
def test_whole_weights_beside_a_distributed_checkpoint_are_named(tmp_path: Path) -> None:
    save(dict(STATE), checkpoint_id=str(tmp_path), no_dist=True)
    save_file({"other.weight": noise(4, 4)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert {tensor.name for tensor in checkpoint.tensors} == STATE.keys()
    assert checkpoint.notes[0].endswith("is read as the distributed checkpoint in it; left aside: model.safetensors.")


@pytest.mark.parametrize("name", ["latest", ".metadata", "params.json"])
def test_pipes_are_not_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"expected a (file of weights|regular file)"):
        open_checkpoint(tmp_path)
