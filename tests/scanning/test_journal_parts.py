"""A part has one writer, and nobody removes what another process writes."""

from pathlib import Path

import pytest

from alpha_callbacks import AnalysisOptions, scan
from alpha_callbacks.errors import JournalError
from alpha_callbacks.scanning.journal import read_journal
from alpha_callbacks.scanning.journal_parts import clear_journal, only_writer
from tests.support.scan_runs import QUIET

BUSY = r"rank-0\.jsonl: expected to be the only writer, another scan is at work here\. Wait for it"


def parts(folder: Path, *names: str) -> list[Path]:
    files = [folder / f"{name}.jsonl" for name in names]
    for file in files:
        file.touch()
    return files


def test_one_writer_a_part(tmp_path: Path) -> None:
    first, other, second = (only_writer(tmp_path, part) for part in ("rank-0", "rank-1", "rank-0"))
    with first, other, pytest.raises(JournalError, match=BUSY), second:
        pass
    with only_writer(tmp_path, "rank-0"):
        pass


def test_parts_are_removed_together_or_not_at_all(tmp_path: Path) -> None:
    own, *others = parts(tmp_path, "rank-1", "rank-0", "shard-1-of-2-rank-0")
    with only_writer(tmp_path, "rank-1"):
        with only_writer(tmp_path, "rank-0"), pytest.raises(JournalError, match=BUSY):
            clear_journal(tmp_path, own="rank-1")
        assert own.exists() and all(file.exists() for file in others)
        clear_journal(tmp_path, "shard-1-*", own="rank-1")
        assert own.exists() and [file.exists() for file in others] == [True, False]
        clear_journal(tmp_path, own="rank-1")
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("resume", [True, False])
def test_a_scan_leaves_the_journal_and_spectra_of_one_at_work(tmp_path: Path, resume: bool) -> None:
    scan(output_dir=tmp_path, save_spectra=True, **QUIET)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with only_writer(tmp_path / "journal", "rank-0"), pytest.raises(JournalError, match=BUSY):
        scan(output_dir=tmp_path, options=AnalysisOptions(k_frac=0.2), resume=resume, **QUIET)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_starting_over_spares_no_shard_at_work(tmp_path: Path) -> None:
    scan(output_dir=tmp_path, **QUIET)
    parts(tmp_path / "journal", "shard-1-of-2-rank-0")
    with only_writer(tmp_path / "journal", "shard-1-of-2-rank-0"), pytest.raises(JournalError, match="only writer"):
        scan(output_dir=tmp_path, resume=False, **QUIET)
    assert len(read_journal(tmp_path / "journal")[1]) == 29


def test_a_scan_is_at_work_until_its_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("alpha_callbacks.scanning.scan", fromlist=["write_all"])
    found: list[bool] = []

    def other(*arguments: object, **options: object) -> None:
        with pytest.raises(JournalError, match=BUSY), only_writer(tmp_path / "journal", "rank-0"):
            pass
        found.append(True)

    monkeypatch.setattr(module, "write_all", other)
    scan(output_dir=tmp_path, **QUIET)
    assert found
