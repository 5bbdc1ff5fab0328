"""Have these weights changed? One pass over the bits, far cheaper than a decomposition."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

# 8-byte words in a line. Odd, so that the columns of a matrix do not stand below one another in the lines, and that a
# change of all words by 2^63, their sign, does not cancel in the sums.
_WORDS = 2047
_LINES = 64  # at a time on the CPU: the second sum of 1 MB finds it in the cache


def digest(tensors: Iterable[Tensor]) -> bytes:
    """Return a digest of the bits of tensors, computed where they live, on the CPU with one thread.

    The bits are laid out as lines of 8-byte words; the sums of the lines and of the columns, modulo 2^64, are hashed,
    and so is what is left after the last whole line. No optimizer step keeps all of them.
    """
    state = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        words, rest = _as_words(tensor.detach())
        for sums in _sums(words):
            state.update(sums.tobytes())
        state.update(rest.cpu().numpy().tobytes())
    return state.digest()


def _sums(words: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the columns and of the lines.

    On the CPU by NumPy: this runs in the thread that trains, whose number of threads is the user's, and torch's sums
    with several wait for the slowest, dozens of times as long once another process (a data loader) holds a core.
    """
    if not words.is_cpu:
        return words.sum(0).cpu().numpy(), words.sum(1).cpu().numpy()
    array = words.numpy()
    columns, lines = np.zeros(_WORDS, dtype=np.int64), np.empty(len(array), dtype=np.int64)
    for start in range(0, len(array), _LINES):
        piece = array[start : start + _LINES]
        columns += piece.sum(0)
        piece.sum(1, out=lines[start : start + _LINES])
    return columns, lines


def _as_words(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits as lines of words, and the bytes that fill no line."""
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    if flat.storage_offset() % 8:  # words cannot begin there
        flat = flat.clone()
    whole = len(flat) // (8 * _WORDS) * 8 * _WORDS
    return flat[:whole].view(torch.int64).view(-1, _WORDS), flat[whole:]
