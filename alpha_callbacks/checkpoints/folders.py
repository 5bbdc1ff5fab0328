"""What lies in a folder beside weights of its own: components, a hub cache, checkpoints further down, or no weights."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from alpha_callbacks.checkpoints.file_names import sets_of
from alpha_callbacks.checkpoints.first_bytes import format_of
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.json_text import read_json

PIPELINE, MODULES = "model_index.json", "modules.json"  # of diffusers and sentence-transformers
METADATA = ".metadata"  # in a folder of torch.distributed.checkpoint
_DEPTH, _SHOWN = 3, 6  # how far down weights are looked for, and how many places are listed
_ABOUT = {  # what a folder without weights may hold instead
    "adapter_config.json": "the description of an adapter",
    "config.json": "the config of a model",
    "tokenizer.json": "a tokenizer",
    "tokenizer.model": "a tokenizer",
    "tokenizer_config.json": "a tokenizer",
    "saved_model.pb": "a TensorFlow SavedModel",
}


def file_names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, sorted; of broken links and special files too, as these need a word.

    Raises:
        CheckpointError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not os.path.isdir(entry))
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a folder that can be listed, got {error.strerror}.") from error


def component_folders(folder: Path) -> dict[str, Path] | None:
    """Return prefix of layer names -> folder, for models that are made of several; None for others.

    The components of a diffusers pipeline, or the modules of a sentence-transformers model. The prefix of a module in
    the folder itself is "". Components without weights (tokenizer, scheduler) are left out.

    Raises:
        CheckpointError: a component cannot be listed.
    """
    pipeline, modules = json_of(folder / PIPELINE), json_of(folder / MODULES)
    present = [name for name in component_names(pipeline, modules) if (folder / name).is_dir()]
    found = {f"{n}.": folder / n for n in present if _are_weights(file_names(folder / n))}
    root = {"": folder} if isinstance(modules, list) and _holds_weights(folder) else {}
    return {**root, **found} if found else None


def component_names(pipeline: Any, modules: Any) -> list[str]:
    """Return the folders that a model names as its components.

    Args:
        pipeline: content of model_index.json (diffusers), or None.
        modules: content of modules.json (sentence-transformers), or None.
    """
    parts = pipeline.items() if isinstance(pipeline, dict) else ()
    listed = [name for name, value in parts if isinstance(value, list) and any(value)]
    listed += (
        [module.get("path") for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    )
    return list(dict.fromkeys(filter(_is_plain, listed)))


def missing_components(folder: Path) -> list[str]:
    """Return the components that a model names and whose folders are not there."""
    names = component_names(json_of(folder / PIPELINE), json_of(folder / MODULES))
    return [name for name in names if not (folder / name).is_dir()]


def snapshot_of(folder: Path) -> Path | None:
    """Return the snapshot that a folder of the hub's cache stands for: that of `main`, or the only one.

    None for any other folder, and for one with weights of its own.
    """
    inside = folder if folder.name == "snapshots" else folder / "snapshots"
    if not inside.is_dir() or _holds_weights(folder):  # a run may keep snapshots of its own beside its weights
        return None
    main = inside.parent / "refs" / "main"
    try:
        commit = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    except (OSError, ValueError):
        commit = ""
    if _is_plain(commit) and (inside / commit).is_dir():
        return inside / commit
    snapshots = [path for path in inside.iterdir() if path.is_dir()]
    return snapshots[0] if len(snapshots) == 1 else None


def folders_with_weights(folder: Path, depth: int) -> list[Path]:
    """Return the folders below that hold weights; later checkpoints of a run first. Links are not followed."""
    if depth == 0:
        return []
    found: list[Path] = []
    try:
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []
    for path in sorted(inside, key=_newest_first):
        if _holds_weights(path):
            found.append(path)
        elif not path.name.startswith("."):
            found += folders_with_weights(path, depth - 1)
    return found


def nothing_to_read(folder: Path) -> CheckpointError:
    """Return the error for a folder without weights of its own: what lies below it, or what it holds instead."""
    names = file_names(folder)
    below = folders_with_weights(folder, _DEPTH)
    if below:
        shown = listed(str(path.relative_to(folder)) for path in below)
        return CheckpointError(
            f"{folder}: expected weights in this folder, found them in others below it ({shown}). Scan one, as in "
            f"`alpha-hill scan {below[0]}`."
        )
    unfinished = next((path for path in folder.rglob("*.incomplete") if path.is_file()), None)
    if unfinished is not None:
        return CheckpointError(f"{folder}: expected weights, found an unfinished download. Finish it.")
    for name in names:
        try:
            format_of(folder / name)
        except CheckpointError as error:
            if name.endswith((".msgpack", ".h5", ".keras", ".onnx", ".tflite", ".npz", ".npy", ".zip", ".gz", ".tar")):
                return error
    what = ", ".join(dict.fromkeys(text for name, text in _ABOUT.items() if name in names)) or listed(names)
    return CheckpointError(
        f"{folder}: expected a file of weights (.safetensors, .bin, .ckpt, .gguf, .pt, .pth), found none (only {what})."
        " Download the weights too, or name the folder that holds them."
        if names
        else f"{folder}: expected a file of weights, found {_no_file(folder)}. Name the folder that holds them."
    )


def _no_file(folder: Path) -> str:
    inside = sorted(path.name for path in folder.iterdir())
    return f"only folders without any ({listed(inside)})" if inside else "an empty folder"


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many there are beyond them."""
    every = list(names)
    return ", ".join(every[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


def _newest_first(path: Path) -> tuple[str, int, str]:
    stem, _, step = path.name.rpartition("-")
    return (stem, -int(step), "") if step.isdecimal() else (path.name, 0, "")


def _holds_weights(folder: Path) -> bool:
    try:
        return _are_weights(file_names(folder))
    except CheckpointError:
        return False


def _are_weights(names: list[str]) -> bool:
    return bool(sets_of(names)) or METADATA in names


def json_of(file: Path) -> Any:
    """Return what a description holds, or None if it is not there or damaged: the weights are what is wanted.

    Raises:
        CheckpointError: it may not be read.
    """
    try:
        return read_json(file)
    except PermissionError as error:
        raise CheckpointError(f"{file}: expected permission to read it, got none. Change its owner or mode.") from error
    except (OSError, ValueError):
        return None


def _is_plain(name: Any) -> TypeGuard[str]:
    plain = isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name and "\0" not in name
    return plain and not any("\ud800" <= character <= "\udfff" for character in name)  # which no file has
