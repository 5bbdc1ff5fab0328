import json
import math
from pathlib import Path

import pytest

from alpha_callbacks.analysis.parallel import Result
from alpha_callbacks.errors import JournalError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.journal import JournalWriter, clear_journal, identity, read_journal
from alpha_callbacks.tables.table import Row

OWN = identity(AnalysisOptions(), {"model.safetensors": "abc"}, ["a", "b"])


def result(name: str, alpha: float = 2.1234567890123456) -> Result:
    row = Row(name, "other", None, 3, 4, "float32", "", "fp32", "ok", alpha=alpha)
    return Result(name, (row,), 0.5)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a", math.pi / 3))
    _, found = read_journal(tmp_path, OWN)
    (row,) = found["a"].rows
    assert row.alpha == math.pi / 3
    assert math.isnan(row.stderr) and row.block is None


def test_parts_add_up_and_go_on(tmp_path: Path) -> None:
    for part, name in (("rank-0", "a"), ("rank-1", "b"), ("rank-0", "c")):
        with JournalWriter(tmp_path, part, OWN) as journal:
            journal.add(result(name))
    own, found = read_journal(tmp_path)
    assert own == OWN
    assert set(found) == {"a", "b", "c"}


@pytest.mark.parametrize("cut", [1, 5, 60, 200])
def test_a_line_cut_short_is_dropped_and_overwritten(tmp_path: Path, cut: int) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
        journal.add(result("b"))
    part = tmp_path / "rank-0.jsonl"
    part.write_bytes(part.read_bytes()[:-cut])
    assert set(read_journal(tmp_path, OWN)[1]) == {"a"}
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("b"))
    assert set(read_journal(tmp_path, OWN)[1]) == {"a", "b"}


def test_killed_within_the_header(tmp_path: Path) -> None:
    (tmp_path / "rank-0.jsonl").write_text('{"format": 1, "opt')
    assert read_journal(tmp_path, OWN)[1] == {}
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
    assert set(read_journal(tmp_path, OWN)[1]) == {"a"}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            identity(AnalysisOptions(k_frac=0.2), {"model.safetensors": "abc"}, ["a", "b"]),
            r"options.k_frac was 0.1 there and is 0.2",
        ),
        (
            identity(AnalysisOptions(), {"model.safetensors": "xyz"}, ["a", "b"]),
            r"checkpoint.model.safetensors was abc there and is xyz",
        ),
        (
            identity(AnalysisOptions(), {"model.safetensors": "abc"}, ["a"]),
            r"layers \(e.g. b\) was 2 layers there and is 1 layers",
        ),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path: Path, other: dict[str, object], difference: str) -> None:
    JournalWriter(tmp_path, "rank-0", OWN).__exit__(None, None, None)
    with pytest.raises(JournalError, match=difference):
        read_journal(tmp_path, other)


def test_one_writer_a_part(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN), pytest.raises(JournalError, match="expected to be the only writer"):
        JournalWriter(tmp_path, "rank-0", OWN)


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
    part = tmp_path / "rank-0.jsonl"
    part.write_text(part.read_text() + "{not json}\n")
    with pytest.raises(JournalError, match=r"rank-0.jsonl: expected lines of JSON.*--no-resume"):
        read_journal(tmp_path, OWN)


def test_clear(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
    clear_journal(tmp_path)
    assert read_journal(tmp_path) == (None, {})


def test_lines_are_plain_json(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
    header, line = (tmp_path / "rank-0.jsonl").read_text().splitlines()
    assert json.loads(header)["format"] == 2
    assert json.loads(line)["layer"] == "a"
