"""A digest that tells one checkpoint from another without reading all of it."""

import hashlib
import json
import os
from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.gguf_header import read_gguf_header
from alpha_callbacks.checkpoints.safetensors_reader import tensor_middles

_SAMPLE_STEP = 4 * 2**20  # bytes between samples at most
_SAMPLE_BYTES = 256


def fingerprint(checkpoint: Checkpoint) -> dict[str, str]:
    """Return file -> digest of its size and of samples: every 4 MiB, and in the middle of each tensor.

    Where tensors lie is known of safetensors and GGUF. Files are called by their path from the checkpoint's folder,
    which tells those of several components apart.

    Enough to tell one checkpoint from another and a retrained matrix from the old one; a full hash would read every
    byte of a 140 GB model twice. Of files on a server it is what the server says of them, and the commit. The config
    counts too, since it decides how fused tensors are split.
    """
    if checkpoint.origin is not None:
        digests = {"commit": checkpoint.origin.commit, **checkpoint.origin.versions}
    else:
        digests = {_path_in(checkpoint, file): _sampled_digest(file) for file in checkpoint.files}
    config = json.dumps(checkpoint.config, sort_keys=True, default=str)
    return {**digests, "config": hashlib.sha256(config.encode()).hexdigest()[:32]}


def _path_in(checkpoint: Checkpoint, file: Path) -> str:
    folder = Path(checkpoint.source)
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) and file != folder else file.name


def _sampled_digest(file: Path) -> str:
    size = os.path.getsize(file)
    digest = hashlib.sha256(str(size).encode())
    offsets = list(range(0, size, max(1, min(_SAMPLE_STEP, size // 64))))
    if file.suffix == ".safetensors":
        offsets += tensor_middles(file)
    elif file.suffix == ".gguf":
        offsets += read_gguf_header(file).middles()
    with file.open("rb", buffering=0) as handle:
        for offset in sorted(offsets):
            handle.seek(offset)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32]
