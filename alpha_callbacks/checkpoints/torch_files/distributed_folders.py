"""Folders of training runs on many devices: which reader they need, or why their parts cannot be joined here."""

import re
from dataclasses import replace
from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.file_names import MAIN, sets_of
from alpha_callbacks.checkpoints.folders import METADATA, listed
from alpha_callbacks.checkpoints.torch_files.dcp_reader import read_dcp
from alpha_callbacks.checkpoints.torch_files.hf_shards import SHARD, read_hf_shards
from alpha_callbacks.checkpoints.torch_files.torch_reader import read_torch_files
from alpha_callbacks.errors import CheckpointError

_MERGE = "Run zero_to_fp32.py, which DeepSpeed puts beside the checkpoint, and scan what it writes."
_CONVERT = "Convert the checkpoint with the tools of the program that wrote it, and scan the result."
_WHOLE = re.compile(r"^mp_rank_\d+_model_states\.pt$")  # DeepSpeed, ZeRO up to stage 2
_SHELLS = re.compile(r"^zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$")  # ZeRO-3
_LAYERS = re.compile(r"^(layer_\d+-model_\d+-model_states|layer_\d+_expert_\d+_mp_rank_\d+_model_states)\.pt$")
_OPTIMIZER = re.compile(r"_optim_states\.pt$")
_MEGATRON = re.compile(r"^mp_rank_\d+(_\d+)*$")  # a folder for each part of the model


def open_distributed(folder: Path) -> Checkpoint | None:
    """Open a folder of DCP, DeepSpeed or Megatron; return None for any other.

    Whole weights in the folder itself go before the parts that lie in folders below it.

    Raises:
        CheckpointError: damaged or incomplete, or parts that are not joined here.
    """
    names, below = _inside(folder)
    whole = [name for group in sets_of(names) if group.name.rank < len(MAIN) for name in group.files.values()]
    if METADATA in names:
        note = (
            f"{folder.name} is read as the distributed checkpoint in it; left aside: {listed(whole)}." if whole else ""
        )
        return _noted(read_dcp(folder), note)
    if any(name.endswith(".distcp") for name in names):
        raise CheckpointError(f"{folder / METADATA}: expected this file beside the .distcp files, it is missing.")
    if any(map(_is_deepspeed, names)) and not whole:
        return _read_deepspeed(folder, names)
    ranks = [name for name in names if SHARD.match(name)]
    if ranks and len(ranks) == sum(name.endswith(".safetensors") for name in names):
        return read_hf_shards([folder / name for name in ranks])
    if sets_of(names):
        return None
    if "latest" in names:
        return _read_latest(folder, below)
    parts = [name for name in below if _MEGATRON.match(name)]
    if parts:
        return _read_megatron(folder, parts)
    shards = [name for name in below if name.startswith("pytorch_model_fsdp_") and (folder / name / METADATA).is_file()]
    return read_dcp(folder / shards[0]) if len(shards) == 1 else None


def require_no_part(file: Path) -> None:
    """Check that a file which is named alone is not one of the parts of a distributed checkpoint.

    Raises:
        CheckpointError: it is; says what to name instead.
    """
    if file.name == METADATA or file.suffix == ".distcp" or SHARD.match(file.name):
        raise CheckpointError(
            f"{file}: expected whole weights, got a part of a distributed checkpoint. Name its folder: {file.parent}."
        )
    if _is_deepspeed(file.name):
        _whole_file(file.parent, _inside(file.parent)[0])
    beside = _inside(file.parent.parent)[1] if _MEGATRON.match(file.parent.name) else []
    if sum(map(bool, map(_MEGATRON.match, beside))) > 1:
        raise _megatron_parts(file, beside)


def require_no_shells(checkpoint: Checkpoint) -> None:
    """Check that no weight is an empty shell.

    Raises:
        CheckpointError: one is.
    """
    for tensor in checkpoint.tensors:
        if tensor.shape == (0,) and tensor.name.endswith("weight") and not tensor.companion:
            raise CheckpointError(
                f"{checkpoint.files[0]}: expected whole weights, got an empty shell of shape [0] for {tensor.name!r}, "
                f"as DeepSpeed ZeRO-3 leaves where a model is saved without gathering it. {_MERGE}"
            )


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files and of the folders in a folder, sorted."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a folder that can be listed, got {error.strerror}.") from error
    return [e.name for e in entries if not e.is_dir()], [e.name for e in entries if e.is_dir()]


def _noted(checkpoint: Checkpoint, note: str) -> Checkpoint:
    return replace(checkpoint, notes=(note, *checkpoint.notes)) if note else checkpoint


def _is_deepspeed(name: str) -> bool:
    return any(pattern.search(name) for pattern in (_WHOLE, _SHELLS, _LAYERS, _OPTIMIZER))


def _read_latest(folder: Path, below: list[str]) -> Checkpoint | None:
    """Follow the file in which DeepSpeed names the folder of the last step."""
    if not (folder / "latest").is_file():  # a pipe would not end
        return None
    try:
        with (folder / "latest").open(encoding="utf-8") as handle:
            step = handle.read(200).strip()
    except (OSError, UnicodeDecodeError):
        return None
    if step not in below:
        if not any(name.startswith("global_step") for name in below):
            return None
        raise CheckpointError(f"{folder / 'latest'}: expected the name of a folder beside it, got {step!r}.")
    note = f"{folder.name} is read as {step}, which its file `latest` names."
    return _noted(_read_deepspeed(folder / step, _inside(folder / step)[0]), note)


def _read_deepspeed(folder: Path, names: list[str]) -> Checkpoint:
    return read_torch_files([_whole_file(folder, names)])


def _whole_file(folder: Path, names: list[str]) -> Path:
    """Return the file of a DeepSpeed step that holds all weights."""
    if any(map(_SHELLS.match, names)):
        raise CheckpointError(
            f"{folder}: expected whole weights, got those of DeepSpeed ZeRO-3, which divides each among all ranks. "
            f"{_MERGE}"
        )
    if any(map(_LAYERS.match, names)):
        raise CheckpointError(
            f"{folder}: expected whole weights, got layers or experts in files of their own, without the names that "
            f"they have in the model. {_CONVERT}"
        )
    whole = [name for name in names if _WHOLE.match(name)]
    if len(whole) != 1:
        found = f"{len(whole)} pieces of tensor parallelism" if whole else "the states of an optimizer only"
        raise CheckpointError(f"{folder}: expected whole weights, got {found}. {_CONVERT if whole else _MERGE}")
    return folder / whole[0]


def _read_megatron(folder: Path, parts: list[str]) -> Checkpoint:
    files = [file for part in parts for file in sorted((folder / part).glob("model*.pt"))]
    if len(parts) != 1 or len(files) != 1:
        raise _megatron_parts(folder, parts)
    return read_torch_files(files)


def _megatron_parts(where: Path, parts: list[str]) -> CheckpointError:
    shown = ", ".join([name for name in parts if _MEGATRON.match(name)][:4])
    return CheckpointError(
        f"{where}: expected whole weights, got the parts of a model-parallel run of Megatron ({shown}): how they are "
        f"divided depends on its options. {_CONVERT}"
    )
