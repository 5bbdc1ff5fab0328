import json
import math
from pathlib import Path

import pytest

from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import JournalError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.journal import JournalWriter, identity, read_journal
from alpha_callbacks.tables.table import Row

AGAIN = "what a scan finds no sound line of, it computes again."
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


def test_the_disk_is_waited_for_once_a_second_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, synced = [100.0], list[int]()
    monkeypatch.setattr("alpha_callbacks.scanning.journal.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("alpha_callbacks.scanning.journal.os.fsync", lambda _: synced.append(len(lines())))

    def lines() -> list[bytes]:
        return (tmp_path / "rank-0.jsonl").read_bytes().splitlines()

    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        for i in range(6):
            clock[0] += 0.4
            journal.add(result(str(i)))
            assert len(lines()) == i + 2  # the system has it: a kill loses nothing
    assert synced == [1, 4, 7, 7]


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


def test_a_flipped_bit_loses_one_layer_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = tmp_path / "rank-0.jsonl"
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        for name in "abc":
            journal.add(result(name))
    whole = part.read_bytes()
    lines = whole.split(b"\n")
    start = len(b"\n".join(lines[:2])) + 1  # of the line of b
    for place in (*range(start, start + len(lines[2]), 7), start + len(lines[2])):  # its newline too
        for bit in (0, 3, 7):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            part.write_bytes(content)
            found = set(read_journal(tmp_path, OWN)[1])
            assert "b" not in found and {"a", "c"} - found <= ({"c"} if place == start + len(lines[2]) else set())
    assert caplog.messages[0].startswith(f"{part}: 1 damaged line of 4")


def test_a_damaged_line_is_cut_out_when_the_part_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = tmp_path / "rank-0.jsonl"
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        for name in "abc":
            journal.add(result(name))
    header, a, _, c, _ = part.read_bytes().split(b"\n")
    part.write_bytes(b"\n".join([header, a, b"{", c, b"\xff\xfe", b"[]", b"[" * 100_000, b'{"layer": "ab']))
    assert set(read_journal(tmp_path, OWN)[1]) == {"a", "c"}
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("b"))
    caplog.clear()
    assert list(read_journal(tmp_path, OWN)[1]) == ["a", "c", "b"]
    assert part.read_bytes().split(b"\n")[:3] == [header, a, c] and not caplog.messages


def test_a_damaged_header_restarts_its_part_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part, name in (("rank-0", "a"), ("rank-1", "b")):
        with JournalWriter(tmp_path, part, OWN) as journal:
            journal.add(result(name))
    file = tmp_path / "rank-0.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"format": 3', b'"format": 2', 1))
    assert set(read_journal(tmp_path, OWN)[1]) == {"b"}
    assert caplog.messages == [f"{file}: 2 damaged lines of 2, not as written; {AGAIN}"]
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("c"))
    assert set(read_journal(tmp_path, OWN)[1]) == {"b", "c"}


def test_a_journal_without_checksums_is_refused_by_its_format(tmp_path: Path) -> None:
    (tmp_path / "rank-0.jsonl").write_text(json.dumps({**OWN, "format": 2}) + "\n")
    with pytest.raises(JournalError, match=r"format was 2 there and is 3 now\. Use --no-resume"):
        read_journal(tmp_path, OWN)
    with pytest.raises(JournalError, match=r"rank-0.jsonl: expected a journal of format 3, got 2: an earlier version"):
        read_journal(tmp_path)  # as `merge` does


def test_estimated_bounds_of_fast_are_not_taken_for_proved_ones(tmp_path: Path) -> None:
    now = identity(AnalysisOptions(solver="fast"), {"model.safetensors": "abc"}, ["a", "b"])
    earlier = {key: value for key, value in now.items() if key != "proved"}  # as version 0.2.0 wrote it
    with JournalWriter(tmp_path, "rank-0", earlier) as journal:
        journal.add(result("a"))
    for expected in (now, None):  # a scan that resumes, and `merge`
        with pytest.raises(
            JournalError, match=r"rank-0\.jsonl: expected proved error bounds of --solver fast.*--no-re"
        ):
            read_journal(tmp_path, expected)
    with JournalWriter(tmp_path / "new", "rank-0", now) as journal:
        journal.add(result("a"))
    assert set(read_journal(tmp_path / "new", now)[1]) == {"a"}


def test_lines_are_plain_json(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "rank-0", OWN) as journal:
        journal.add(result("a"))
    header, line = (tmp_path / "rank-0.jsonl").read_text().splitlines()
    assert json.loads(header)["format"] == 3
    assert json.loads(line)["layer"] == "a"
