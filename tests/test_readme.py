"""The Python in README, docs/training.md and docs/reference.md runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.plots.elements import canvas
from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def snippets(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("page", "number"),
    [
        (page, number)
        for page in ("README.md", "docs/training.md", "docs/reference.md")
        for number in range(len(snippets(page)))
    ],
)
def test_snippet(page: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning")
    transformers = pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        canvas, "_WRITERS", {"png": lambda figure, file: file.write(b"blank")}
    )  # other tests look at them
    torch.manual_seed(0)
    args: Any = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    names = {
        "L": lightning,
        "Trainer": transformers.Trainer,
        "model": nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40)),
        "args": args,
        "data": [],
        "loader": range(3),
        "train": lambda model, batch: None,
    }
    if "read_csv" in snippets(page)[number]:
        loop = next(snippet for snippet in snippets("README.md") if "Monitor(" in snippet)
        exec(compile(loop, "README.md", "exec"), names)  # it writes that file
    exec(compile(snippets(page)[number], page, "exec"), names)  # ours
    if "Monitor" in snippets(page)[number]:
        assert (tmp_path / "alpha_hill" / "alpha_hill_history.csv").exists()


def test_there_are_snippets() -> None:
    assert [len(snippets(page)) for page in ("README.md", "docs/training.md", "docs/reference.md")] == [3, 4, 2]
