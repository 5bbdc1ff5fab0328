"""A folder or file -> an opened checkpoint, whatever its format."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Reader
from alpha_callbacks.checkpoints.components import join
from alpha_callbacks.checkpoints.configs import config_of, read_config
from alpha_callbacks.checkpoints.file_names import FORMATS, is_piece, sets_of
from alpha_callbacks.checkpoints.file_sets import FileSet, choose_files, set_around
from alpha_callbacks.checkpoints.first_bytes import format_of
from alpha_callbacks.checkpoints.folders import (
    component_folders,
    file_names,
    folders_with_weights,
    listed,
    missing_components,
    nothing_to_read,
    snapshot_of,
)
from alpha_callbacks.checkpoints.index_file import read_index
from alpha_callbacks.checkpoints.torch_files.distributed_folders import (
    open_distributed,
    require_no_part,
    require_no_shells,
)
from alpha_callbacks.checkpoints.unchanged import stamps_of
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils import plugins
from alpha_callbacks.utils.model_names import SUFFIXES


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint folder or file and check every header.

    Args:
        path: a folder (HF, Trainer, diffusers, sentence-transformers, of the hub's cache, or plain), or a .safetensors,
            .gguf, .bin, .pt, .pth or .ckpt file, or one with a suffix that a plugin of the group `readers` knows. A
            file that is one of several shards stands for all of them.

    Raises:
        CheckpointError: missing, damaged or unknown; names the file, before any weight is read.
        MissingExtraError: the format needs an optional package.
    """
    path = Path(path)
    if path.is_dir():
        return replace(_open_folder(path), source=str(path))
    return replace(_open_set(path.parent, _set_of_file(path)), source=str(path))


def weight_files(path: Path) -> list[Path]:
    """Return the files that make up the checkpoint of a folder or file, by names and indexes alone; see `file_sets`.

    Raises:
        CheckpointError: none, incomplete, or several.
    """
    chosen, folder = (_set_of_folder(path), path) if path.is_dir() else (_set_of_file(path), path.parent)
    return [folder / name for name in chosen.files]


def _open_folder(folder: Path) -> Checkpoint:
    distributed = open_distributed(folder)
    if distributed is not None:
        require_names(distributed)
        require_no_shells(distributed)
        stamps, config = stamps_of(distributed.files), read_config(folder / "config.json")
        return replace(distributed, config=config, stamps=stamps)
    parts = component_folders(folder)
    if parts is not None:
        opened = {prefix: _open_own(part) for prefix, part in parts.items()}
        notes = [f"{folder.name} is read as its parts: {', '.join(prefix.rstrip('.') or '.' for prefix in opened)}."]
        absent = missing_components(folder)
        if absent:
            notes.append(f"{', '.join(absent)}: named by the description of the model, not in the folder.")
        aside = [] if "" in parts else [name for group in sets_of(file_names(folder)) for name in group.files.values()]
        aside += [part.name for part in folders_with_weights(folder, 1) if part not in parts.values()]
        if aside:
            notes.append(f"Left aside, since no component: {listed(aside)}.")
        return join(str(folder), opened, tuple(notes))
    snapshot = snapshot_of(folder)
    if snapshot is not None:
        opened_snapshot = _open_folder(snapshot)
        note = f"{folder.name} is read as its snapshot {snapshot.name}."
        return replace(opened_snapshot, notes=(note, *opened_snapshot.notes))
    opened_folder, below = _open_own(folder), folders_with_weights(folder, 1)
    if not below:
        return opened_folder
    note = f"Folders below hold weights too, which are not read: {listed(path.name for path in below)}."
    return replace(opened_folder, notes=(*opened_folder.notes, note))


def _open_own(folder: Path) -> Checkpoint:
    """Open what lies in a folder itself."""
    return _open_set(folder, _set_of_folder(folder))


def _set_of_folder(folder: Path) -> FileSet:
    formats = [*FORMATS, *(name for name in plugins.names("readers") if name not in FORMATS)]
    chosen = choose_files(file_names(folder), str(folder), lambda name: read_index(folder / name), formats)
    if chosen is None:
        raise nothing_to_read(folder)
    return chosen


def _set_of_file(path: Path) -> FileSet:
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(f"{path}: expected a checkpoint file or folder, found nothing there.")
    require_no_part(path)
    folder = path.parent
    return set_around(path.name, file_names(folder), str(folder), lambda name: read_index(folder / name))


def _open_set(folder: Path, chosen: FileSet) -> Checkpoint:
    files = [folder / name for name in chosen.files]
    require_no_piece(chosen.files, lambda name: str(folder / name))
    reader, notes = _reader(files)
    beside = [
        folder / name
        for name in ("config.json", "adapter_config.json", chosen.index)
        if name and (folder / name).is_file()
    ]
    stamps = stamps_of([*files, *beside])  # before anything is read, so that no change is missed
    checkpoint = reader(files)
    if not checkpoint.tensors:
        raise CheckpointError(f"{files[0]}: expected tensors, found none.")
    require_names(checkpoint)
    require_no_shells(checkpoint)
    # What a file says about itself (GGUF) takes precedence over a config.json in the same folder.
    config = {**config_of(lambda name: read_config(folder / name)), **checkpoint.config}
    notes = (*chosen.notes, *notes, *against_index(checkpoint, str(folder), chosen))
    return replace(checkpoint, config=config, stamps={**stamps, **checkpoint.stamps}, notes=notes + checkpoint.notes)


def require_no_piece(files: Sequence[str], address: Callable[[str], str]) -> None:
    """Check by their names that files hold whole matrices.

    Args:
        files: names.
        address: name -> how a message calls the file.
    """
    piece = next(filter(is_piece, files), None)
    if piece is not None:
        raise CheckpointError(
            f"{address(piece)}: expected whole matrices, got one of the pieces that model parallelism cuts them into. "
            "Join the pieces first."
        )


def _reader(files: Sequence[Path]) -> tuple[Reader, tuple[str, ...]]:
    """Return what reads these files, and a note where their names say something else."""
    known, found = plugins.names("readers"), [_format(file) for file in files]
    odd = next((file for file, format in zip(files, found, strict=True) if format != found[0]), None)
    if odd is not None:
        raise CheckpointError(f"{odd}: expected {found[0]} as in {files[0].name}, got {_format(odd)}. Name one file.")
    if found[0] not in known:
        kinds = dict.fromkeys([*SUFFIXES, *(f".{name}" for name in known)])
        got = files[0].suffix.lower() or "no suffix"
        raise CheckpointError(f"{files[0]}: expected one of {', '.join(kinds)}, got {got!r}.")
    reader: Reader = plugins.load("readers", found[0], error=CheckpointError)
    renamed = found[0] != _suffix(files[0])
    return reader, (f"{files[0].name}: by its content this is .{found[0]}, and read as that.",) if renamed else ()


def _format(file: Path) -> str:
    """Return the name of the reader for a file: by its first bytes, else by its suffix."""
    suffix = _suffix(file)
    if suffix in plugins.names("readers") and not plugins.is_own("readers", suffix):
        return suffix  # what another distribution reads is its own affair
    found = format_of(file)
    if found == "torch" and suffix == "safetensors":  # a name that promises that there is no pickle in it
        raise CheckpointError(f"{file}: expected safetensors, got a pickle of torch. Rename it to .pt to read it.")
    if found == "torch":
        return suffix if suffix in _TORCH else _TORCH[0]
    return found or suffix


def _suffix(file: Path) -> str:
    return file.suffix.lower().removeprefix(".")


_TORCH = ("pt", "pth", "bin", "ckpt")


def require_names(checkpoint: Checkpoint) -> None:
    """Check that each tensor has a name of its own, and one that can be written to a table."""
    seen, where = set[str](), checkpoint.files[0]
    for tensor in checkpoint.tensors:
        if "\0" in tensor.name or any("\ud800" <= character <= "\udfff" for character in tensor.name):
            raise CheckpointError(
                f"{where}: expected names of tensors that are text, got {tensor.name[:80]!r}. Choose others."
            )
        if tensor.name in seen:
            raise CheckpointError(
                f"{where}: expected each tensor once, got {tensor.name[:80]!r} in more than one of "
                f"{len(checkpoint.files)} files. If each holds a piece of it (model parallelism), join them first."
            )
        seen.add(tensor.name)


def against_index(checkpoint: Checkpoint, folder: str, chosen: FileSet) -> tuple[str, ...]:
    """Compare what an index promises with what is there; return a note on tensors that it does not list.

    Raises:
        CheckpointError: a tensor that it lists is in none of the files.
    """
    if not chosen.promised:
        return ()
    names = {tensor.name for tensor in checkpoint.tensors}
    absent = sorted(chosen.promised.keys() - names)
    if absent:
        raise CheckpointError(
            f"{folder}/{chosen.index}: expected {absent[0]!r} in {chosen.promised[absent[0]]}, it is not there "
            f"({len(absent)} tensors are missing). Complete the download; if the index is of another build, remove it."
        )
    unlisted = sorted(names - chosen.promised.keys())
    if not unlisted:
        return ()
    return (f"{chosen.index} does not list {len(unlisted)} tensors of its files ({unlisted[0]}, …); they are read.",)
