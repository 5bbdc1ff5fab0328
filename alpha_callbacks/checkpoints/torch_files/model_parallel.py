"""The pieces of Meta's Llama releases (`consolidated.00.pth`, `.01.pth`, …) -> whole matrices.

Each piece holds a part of every matrix, as fairscale divides them: wq, wk, wv, w1, w3 and output by rows, wo and w2 by
columns, embeddings by columns (Llama 1 and 2) or by rows (Llama 3); norms are in all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from alpha_callbacks.checkpoints.torch_files.chunks import Chunk, Chunked
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.weights.stored_tensor import StoredTensor

_PIECE = re.compile(r"^consolidated\.\d+\.pth$")
_BY_ROWS, _BY_COLUMNS = ("wq", "wk", "wv", "w1", "w3", "output"), ("wo", "w2")


def are_pieces(files: Sequence[Path]) -> bool:
    """Return True for files that are named as the pieces of a Llama release, or for the only one of them."""
    return all(_PIECE.match(file.name) for file in files)


def join_pieces(pieces: Sequence[Sequence[StoredTensor]], folder: Path) -> list[StoredTensor]:
    """Return whole matrices.

    Args:
        pieces: the tensors of each file, in the order of the files.
        folder: may hold `params.json`, which says how many heads there are.

    Raises:
        ValueError: pieces are missing, or one is divided in a way that is not known.
    """
    first, count = {tensor.name: tensor for tensor in pieces[0]}, len(pieces)
    norm, query = first.get("norm.weight"), first.get("layers.0.attention.wq.weight")
    if norm is None or query is None or len(norm.shape) != 1 or len(query.shape) != 2:
        if count == 1:
            return list(pieces[0])  # another program's file of this name
        raise ValueError(f"{count} pieces without the norm and the attention of Llama, which say how they are divided")
    width = norm.shape[0]
    heads = _heads(folder, width)
    rows = heads.get("wq", width)
    if query.shape[0] * count != rows and (count > 1 or rows % query.shape[0] == 0):
        raise ValueError(
            f"{count} of {rows / query.shape[0]:g} pieces: the queries have {query.shape[0]:,} of {rows:,} rows"
        )
    if count == 1:
        return list(pieces[0])
    named = [{tensor.name: tensor for tensor in piece} for piece in pieces]
    if any(piece.keys() != first.keys() for piece in named):
        raise ValueError("pieces that do not hold the same tensors")
    return [_joined([piece[name] for piece in named], width, heads) for name in first]


def _heads(folder: Path, width: int) -> Mapping[str, int]:
    """Return the rows of wq, wk and wv, where `params.json` says them."""
    try:
        params = read_json(folder / "params.json")
        count = int(params["n_heads"])
        size = int(params.get("head_dim") or width // count)
        keys = int(params.get("n_kv_heads") or count) * size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return {}
    return {"wq": count * size, "wk": keys, "wv": keys}


def _joined(parts: Sequence[StoredTensor], width: int, heads: Mapping[str, int]) -> StoredTensor:
    one = parts[0]
    if any((part.shape, part.dtype) != (one.shape, one.dtype) for part in parts) or one.dtype is None:
        raise ValueError(f"{one.name!r} in pieces of several shapes or types")
    if len(one.shape) == 2:
        different = _different(parts)
        if different == 1:  # in all of them: as wk and wv, where there are fewer heads than pieces
            return one
        dim = _dimension(one, len(parts), width)
        shape = tuple(size * (len(parts) if i == dim else 1) for i, size in enumerate(one.shape))
        last = one.name.split(".")[-2]
        if different == len(parts) and heads.get(last, shape[0]) == shape[0]:
            step = one.shape[dim]
            chunks = [Chunk((i * step, 0) if dim == 0 else (0, i * step), p.shape, p.read) for i, p in enumerate(parts)]
            return replace(one, shape=shape, read=Chunked(shape, one.dtype, tuple(chunks)).rows)
    elif one.name.endswith(("norm.weight", "rope.freqs")) and _different(parts) == 1:
        return one
    raise ValueError(f"{one.name!r} of shape {one.shape} in pieces that are divided in a way that is not known")


def _dimension(piece: StoredTensor, count: int, width: int) -> int:
    """Return the dimension by which a matrix is divided, its other one checked against the width of the model."""
    last = piece.name.split(".")[-2] if piece.name.endswith(".weight") else ""
    embedding = last == "tok_embeddings"
    if (last in _BY_ROWS or embedding) and piece.shape[1] == width:
        return 0
    if last in _BY_COLUMNS and piece.shape[0] == width or embedding and piece.shape[1] * count == width:
        return 1
    raise ValueError(f"{piece.name!r} of shape {piece.shape} in {count} pieces, divided in a way that is not known")


def _different(parts: Sequence[StoredTensor]) -> int:
    """Return how many of the pieces differ in their first or last rows."""
    size = parts[0].shape[0] if parts[0].shape else 1
    ends = [torch.stack([p.read(0, 1)[0], p.read(size - 1, size)[0]]) for p in parts]
    return len({end.contiguous().view(torch.uint8).numpy().tobytes() for end in ends})
