"""A file appears whole or not at all, and nothing else stays."""

from pathlib import Path

import pytest

from alpha_callbacks.utils import drafts
from alpha_callbacks.utils.atomic_files import write_text


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.csv"
    write_text(file, "old\n")

    def full(source: Path, target: Path) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(drafts.os, "replace", full)
        write_text(file, "new\n")
    assert file.read_text() == "old\n" and list(tmp_path.iterdir()) == [file]
    write_text(file, "new\n")
    assert file.read_text() == "new\n"
