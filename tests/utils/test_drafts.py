"""Drafts of dead processes go, those of living ones stay, whatever else lies in the folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpha_callbacks.utils import drafts
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.drafts import draft_beside, draft_of, remove_dead_drafts

WRITER = """
import sys, time
from pathlib import Path
from alpha_callbacks.utils.drafts import draft_beside, draft_of
kind, target = sys.argv[1], Path(sys.argv[2])
with (draft_beside if kind == "folder" else draft_of)(target) as draft:
    if kind == "folder":
        (draft / "inside").mkdir(parents=True)
        (draft / "inside" / "weights").write_bytes(bytes(1000))
    else:
        draft.write_bytes(bytes(1000))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["file", "folder"])
def writer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a draft of `tmp_path / "a"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, request.param, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_removes_what_a_kill_left(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    (left,) = names(tmp_path)
    write_text(tmp_path / "b", "text")
    assert names(tmp_path) == [left, "b"]  # its process lives
    writer.kill()
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # a zombie until `writer.wait`
    remove_dead_drafts(tmp_path)
    assert names(tmp_path) == ["b"]


def test_a_folder_is_looked_through_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(drafts, "remove_dead_drafts", looked.append)
    for name in ("a", "b", "c"):
        write_text(tmp_path / "folder" / name, name)
    assert looked == [tmp_path / "folder"]


def test_what_is_not_known_to_be_ours_and_dead_stays(tmp_path: Path) -> None:
    machine, dead = drafts._machine(), subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    others = [
        f".a.{'0' * 8}-{dead.pid}-01234567.tmp",  # of another machine
        f".a.{machine}-{os.getppid()}-01234567.tmp",  # of a living process
        ".a.01234567.tmp",
        "a.tmp",
        f"a.{machine}-{dead.pid}-01234567.tmp",
        f".a.{machine}-{dead.pid}-01234567.tmp.bak",
    ]
    ours = [f".a.{machine}-{dead.pid}-01234567.tmp", f".b\n.{machine}-{os.getpid()}-01234567.tmp"]
    for name in (*others, *ours):
        (tmp_path / name).touch()
    with draft_beside(tmp_path / "now") as draft:
        draft.touch()
        remove_dead_drafts(tmp_path)
        assert names(tmp_path) == sorted([*others, draft.name])
    assert names(tmp_path) == sorted(others)


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / f".a.{drafts._machine()}-{os.getpid()}-01234567.tmp").symlink_to(kept)
    remove_dead_drafts(tmp_path)
    assert names(tmp_path) == ["kept"] and names(kept) == ["file"]


def test_names_of_drafts_fit_whatever_their_targets_are_called(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120)
    with draft_of(target) as draft:
        draft.write_text("whole")
    assert target.read_text() == "whole" and names(tmp_path) == [target.name]
