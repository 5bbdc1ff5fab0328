"""A model on a server -> an opened checkpoint whose tensors are read by ranges when they are needed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Origin, Reader
from alpha_callbacks.checkpoints.open_checkpoint import against_index, require_names, require_no_piece
from alpha_callbacks.checkpoints.remote.link import Link, Patience
from alpha_callbacks.checkpoints.remote.redirects import Refused, shown
from alpha_callbacks.checkpoints.remote.remote_file import RemoteFile
from alpha_callbacks.checkpoints.remote.remote_model import RemoteModel, find_model
from alpha_callbacks.checkpoints.remote.remote_path import RemotePath
from alpha_callbacks.checkpoints.safetensors_header import Header, parse_header
from alpha_callbacks.checkpoints.safetensors_reader import Shard, join_shards
from alpha_callbacks.checkpoints.torch_files.distributed_folders import require_no_shells
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils import plugins

_FIRST = 128 * 2**10  # bytes; most headers are shorter and come with the first answer


def open_remote(
    source: str, revision: str | None = None, *, connections: int = 8, patience: Patience | None = None
) -> Checkpoint:
    """Open a model in safetensors or GGUF where it lies; headers are read and checked, nothing is written.

    Args:
        source: "organization/name", a page or file of the hub, or the URL of a .safetensors file or index, or a .gguf
            file, elsewhere.
        revision: branch, tag or commit; the commit that it names now is read to the end, whatever is pushed later.
        connections: requests at the same time.
        patience: how long a server is waited for.

    Raises:
        CheckpointError: unknown, gated, damaged, of another format, or on a server that does not send ranges.
        OptionError: a revision of something that has none.
    """
    link = Link(connections=connections, patience=patience)
    try:
        model = find_model(source, revision, link)
        files = _open_files(model, link)
        checkpoint, sizes = (_gguf if _is_gguf(model) else _safetensors)(model, files)
        if not checkpoint.tensors:
            raise CheckpointError(f"{model.source}: expected tensors, found none.")
        require_names(checkpoint)
        require_no_shells(checkpoint)
        notes = (*model.files.notes, *against_index(checkpoint, model.source, model.files), *checkpoint.notes)
    except BaseException:
        link.close()
        raise
    versions = {name: str(file.version) for name, file in zip(model.files.files, files, strict=True)}
    origin = Origin(model.commit, versions, sizes, link.traffic, link.close)
    config = {**model.config, **checkpoint.config}
    return replace(checkpoint, source=model.source, config=config, notes=notes, origin=origin)


def _safetensors(model: RemoteModel, files: list[RemoteFile]) -> tuple[Checkpoint, dict[str, int]]:
    """Return the tensors, and the bytes that each takes."""
    shards = [Shard(file.where, _header(file), file.fill) for file in files]
    sizes = {entry.name: entry.stop - entry.start for shard in shards for entry in shard.header.entries}
    return join_shards(shards, tuple(map(Path, model.files.files))), sizes


def _gguf(model: RemoteModel, files: list[RemoteFile]) -> tuple[Checkpoint, dict[str, int]]:
    """Return the tensors, and about how many bytes each takes."""
    reader: Reader = plugins.load("readers", "gguf", error=CheckpointError)
    names = model.files.files
    found = reader([cast(Path, RemotePath(name, file)) for name, file in zip(names, files, strict=True)])
    each = sum(file.version.size for file in files) / max(1, sum(tensor.numel for tensor in found.tensors))
    return replace(found, files=tuple(map(Path, names))), {t.name: round(each * t.numel) for t in found.tensors}


def _is_gguf(model: RemoteModel) -> bool:
    return model.files.files[0].endswith(".gguf")


def _open_files(model: RemoteModel, link: Link) -> list[RemoteFile]:
    """Read the beginnings of all files, side by side.

    Raises:
        CheckpointError: a file is of another format, or refused.
    """
    suffix = ".gguf" if _is_gguf(model) else ".safetensors"
    other = next((name for name in model.files.files if not name.endswith(suffix)), None)
    if other is not None:
        raise CheckpointError(
            f"{model.source}: expected .safetensors or .gguf files, which can be read by ranges, got {other}. "
            "Scan the model without --remote, which downloads it."
        )
    require_no_piece(model.files.files, lambda name: shown(model.address(name)))
    with ThreadPoolExecutor(link.connections, "alpha-hill-open") as pool:
        opening = [
            pool.submit(RemoteFile, model.address(name), link, first=_FIRST, commit=model.commit)
            for name in model.files.files
        ]
        try:
            return [file.result() for file in opening]
        except CheckpointError as error:
            link.close(error)  # the others stop waiting
            raise (model.explain(error) if isinstance(error, Refused) else error) from error.__cause__


def _header(file: RemoteFile) -> Header:
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        count = min(count, file.version.size - at)
        found = file.beginning[at : at + count]
        rest = bytearray(count - len(found))
        file.fill(memoryview(rest), at + len(found))
        at += count
        return found + bytes(rest)

    header = parse_header(read, file.version.size, file.where)
    file.beginning = b""  # a model may have hundreds of files
    return header
