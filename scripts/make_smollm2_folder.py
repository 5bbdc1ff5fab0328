"""Turn the GGUF file of SmolLM2-135M into a plain fp32 Hugging Face folder with its tokenizer, once (540 MB).

The weights are what Q4_1 left of them: a real network to measure on, not quite the one that was trained. A folder is
read in a second, the GGUF file in twenty::

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder

The path is printed as ``smollm2_folder=PATH``.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.fetch_real_weights import CACHE_VARIABLE, SMOLLM2, FetchError, default_cache, fetch

FOLDER = "smollm2-135m-fp32"


def make_folder(gguf: Path, cache: Path) -> Path:
    """Return the folder, made if the cache lacks it.

    Args:
        gguf: The GGUF file.
        cache: Where the folder is kept.
    """
    folder = cache / FOLDER
    if not folder.exists():
        print(f"{gguf.name}: writing {folder}", file=sys.stderr, flush=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
        try:
            convert(gguf, partial)
            partial.chmod(0o755)  # mkdtemp makes it private to this user
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def convert(gguf: Path, folder: Path) -> None:
    """Write model and tokenizer of a GGUF file into a folder that exists."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # all is there; nothing may be looked up
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    del model.config.quantization_config  # the weights are plain floats now, and saving must not think otherwise
    model.hf_quantizer = None
    model.save_pretrained(folder)


def main() -> int:
    """Make the folder and print its path; return the exit code."""
    parser = argparse.ArgumentParser(description="Turn the GGUF file of SmolLM2-135M into a plain fp32 folder.")
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        help=f"folder to keep it in (default: the environment variable {CACHE_VARIABLE}, else %(default)s)",
    )
    args = parser.parse_args()
    try:
        folder = make_folder(fetch(SMOLLM2, "*.gguf", args.cache), args.cache)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"smollm2_folder={folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
