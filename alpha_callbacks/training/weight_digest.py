"""Have these weights changed? One pass over the bits, far cheaper than a decomposition."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_WORDS = 1024  # 8-byte words in a line


def digest(tensors: Iterable[Tensor]) -> bytes:
    """Return a digest of the bits of tensors, computed where they live, on the CPU with one thread.

    The bits are laid out as lines of 8-byte words; the sums of the lines and of the columns, modulo 2^64, are hashed.
    No optimizer step keeps all of them.
    """
    state = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        for sums in _sums(_as_words(tensor.detach())):
            state.update(sums.tobytes())
    return state.digest()


def _sums(words: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the columns and of the lines.

    On the CPU by NumPy: this runs in the thread that trains, whose number of threads is the user's, and torch's sums
    with several wait for the slowest, dozens of times as long once another process (a data loader) holds a core.
    """
    if words.is_cpu:
        array = words.numpy()
        return array.sum(0), array.sum(1)
    return words.sum(0).cpu().numpy(), words.sum(1).cpu().numpy()


def _as_words(tensor: Tensor) -> Tensor:
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    if rest := len(flat) % (8 * _WORDS):
        flat = torch.nn.functional.pad(flat, (0, 8 * _WORDS - rest))
    return flat.view(torch.int64).view(-1, _WORDS)
