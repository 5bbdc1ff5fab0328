"""Have these weights changed? One pass over the bits, far cheaper than a decomposition."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

_WORDS = 1024  # 8-byte words in a line


def digest(tensors: Iterable[Tensor]) -> bytes:
    """Return a digest of the bits of tensors, computed where they live.

    The bits are laid out as lines of 8-byte words; the sums of the lines and of the columns, modulo 2^64, are hashed.
    No optimizer step keeps all of them.
    """
    state = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        words = _as_words(tensor.detach())
        state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        for sums in (words.sum(0), words.sum(1)):
            state.update(sums.cpu().numpy().tobytes())
    return state.digest()


def _as_words(tensor: Tensor) -> Tensor:
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    if rest := len(flat) % (8 * _WORDS):
        flat = torch.nn.functional.pad(flat, (0, 8 * _WORDS - rest))
    return flat.view(torch.int64).view(-1, _WORDS)
