"""Real text for the examples, without any download: the files of this repository."""

from pathlib import Path

import torch
from torch import Tensor

REPOSITORY = Path(__file__).parents[1]


def read() -> str:
    """Return the licence and the pages of the documentation."""
    return "\n".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "LICENSE", *_pages()))


def halves() -> tuple[str, str]:
    """Return two parts of it that share nothing: one to calibrate on, one to judge by."""
    text = read()
    return text[: len(text) // 2], text[len(text) // 2 :]


def blocks(tokens: Tensor, length: int) -> Tensor:
    """Return consecutive blocks of tokens, shape (n, length)."""
    return tokens[: len(tokens) // length * length].view(-1, length)


def characters(length: int = 64) -> Tensor:
    """Return the text as blocks of byte values, shape (n, length)."""
    return blocks(torch.tensor(list(read().encode())), length)


def _pages() -> list[Path]:
    return sorted((REPOSITORY / "docs").glob("*.md"))
