"""The texts of the evidence: two to judge by, one to calibrate on, which shares nothing with them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

CHARACTERS = 8000


@dataclass(frozen=True)
class Text:
    """An English text.

    Attributes:
        name: in tables.
        text: what is used of it.
        sha256: of the text that the recorded results are from; Python's own differs a little between versions.
    """

    name: str
    text: str
    sha256: str

    @property
    def as_recorded(self) -> bool:
        """True if it is the text that the recorded results are from."""
        return hashlib.sha256(self.text.encode()).hexdigest() == self.sha256


def documentation() -> Text:
    """Return text A: Python's reference on the execution model."""
    return Text(
        "docs", topics["execmodel"][:CHARACTERS], "d44fbd8e2f9288d3dde027c30d28a64ac790b41999f29d65ee8b229c0dc8ecc7"
    )


def news(lee_background: Path) -> Text:
    """Return text B: news articles, from the file that scripts/fetch_real_weights.py prints."""
    return Text(
        "news",
        lee_background.read_text(encoding="utf-8")[:CHARACTERS],
        "69b30585f07e84df6d5344239a2cb1a8098022de286b49764926f880b71b86f1",
    )


def calibration() -> Text:
    """Return the text for gradients: Python's reference on compound statements."""
    return Text(
        "calibration",
        topics["compound"][:CHARACTERS],
        "0a516c65e38cf15de709f36dcfec611b726a40e8c86261382c6ca56c0c576750",
    )


def long_calibration() -> str:
    """Return a longer text to calibrate on: Python's reference on statements, strings, sequences and mappings."""
    return "\n".join(
        topics[name] for name in ("compound", "formatstrings", "string-methods", "typesseq", "typesmapping")
    )


def describe(texts: Sequence[Text]) -> list[str]:
    """Return one line per text: what it is, and whether it is the recorded one."""
    return [
        f"{text.name}: {len(text.text)} characters, sha256 {text.sha256[:12]}"
        + ("" if text.as_recorded else " expected, but this Python has another text")
        for text in texts
    ]


def long_documentation() -> str:
    """Return a longer text A, for paired tests: Python's reference on the execution model and on special methods."""
    return topics["execmodel"] + "\n" + topics["customization"]


def long_news(lee_background: Path) -> str:
    """Return a longer text B, for paired tests."""
    return lee_background.read_text(encoding="utf-8")[:24_000]


def kept_aside(lee_background: Path) -> list[Text]:
    """Return all that plans are judged or calibrated on, for a model that is trained on the rest."""
    longer = {"docs": long_documentation(), "news": long_news(lee_background)}
    return [*(Text(name, text, "") for name, text in longer.items()), calibration()]
