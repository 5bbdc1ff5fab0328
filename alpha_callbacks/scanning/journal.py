"""Finished layers on disk, one JSON line each, so that a killed run can continue and shards can be merged."""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from alpha_callbacks._version import __version__
from alpha_callbacks.analysis.parallel import Result
from alpha_callbacks.errors import JournalError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row

_log = logging.getLogger(__name__)

_FORMAT = 2
FOLDER = "journal"
NOTES = "notes"  # key of a header: what was said of the choice of files, for `merge`; no part of the identity

Identity = dict[str, Any]


def identity(options: AnalysisOptions, checkpoint: Mapping[str, str], layers: Iterable[str]) -> Identity:
    """Return what a journal must agree on with the run that takes it up."""
    plain = json.loads(json.dumps(asdict(options)))
    del plain["device"]  # shards may run on different machines
    return {
        "format": _FORMAT,
        "version": __version__,
        "options": plain,
        "checkpoint": dict(checkpoint),
        "layers": list(layers),
    }


def read_journal(folder: Path, expected: Identity | None = None) -> tuple[Identity | None, dict[str, Result]]:
    """Return (identity, finished layers) of all parts in a folder.

    A last line cut short by a kill is dropped. Parts come from earlier runs, other ranks or other shards.

    Raises:
        JournalError: a part belongs to another run than `expected` or than the first part; names the difference.
    """
    found, results = expected, dict[str, Result]()
    for part in sorted(folder.glob("*.jsonl")):
        lines = _whole_lines(part)
        if not lines:
            continue
        try:
            header, *entries = map(json.loads, lines)
            parsed = [
                Result(entry["layer"], tuple(Row(**row) for row in entry["rows"]), entry["seconds"])
                for entry in entries
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"{part}: expected lines of JSON, got {error}. Use --no-resume to start over."
            ) from error
        found = found or header
        _require_same(part, header, found)
        results.update((result.layer_name, result) for result in parsed)
    return found, results


def clear_journal(folder: Path, part: str = "*") -> None:
    """Remove one part, or all."""
    for file in folder.glob(f"{part}.jsonl"):
        file.unlink()


class JournalWriter:
    """Appends to one part; each layer is on disk before `add` returns."""

    def __init__(self, folder: Path, part: str, header: Identity) -> None:
        """Open (and lock) `folder/part.jsonl`.

        Raises:
            JournalError: another process is writing this part.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{part}.jsonl"
        self._file: TextIO = path.open("a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(
                f"{path}: expected to be the only writer, another scan is at work here. Wait for it."
            ) from error
        except OSError:
            _log.warning("%s: this file system has no locks; run no second scan here.", path)
        self._file.truncate(sum(len(line.encode()) + 1 for line in _whole_lines(path)))  # a line cut short by a kill
        if self._file.tell() == 0 or path.stat().st_size == 0:
            self._line(header)

    def add(self, result: Result) -> None:
        """Append one finished layer."""
        self._line(
            {"layer": result.layer_name, "seconds": result.seconds, "rows": [asdict(row) for row in result.rows]}
        )

    def _line(self, content: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(content) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "JournalWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the part."""
        self._file.close()


def _whole_lines(path: Path) -> list[str]:
    """Return the complete lines of a part; what follows the last newline was cut short."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()


def _require_same(part: Path, got: Identity, expected: Identity) -> None:
    after, earlier = ({key: value for key, value in header.items() if key != NOTES} for header in (expected, got))
    for key, now, before in _differences(after, earlier):
        older = "Name the earlier commit with --revision, or use" if key == "checkpoint.commit" else "Use"
        raise JournalError(
            f"{part}: expected a journal of this run, but {key} was {before} there and is {now} now. "
            f"{older} --no-resume to start over, or another --output-dir."
        )


def _differences(now: Mapping[str, Any], before: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any, Any]]:
    for key in [*now, *(key for key in before if key not in now)]:
        a, b = now.get(key), before.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif isinstance(a, list) and isinstance(b, list) and prefix == "" and a != b:
            odd = sorted(set(a) ^ set(b))[:3]
            yield f"{prefix}{key} (e.g. {', '.join(odd)})", f"{len(a)} layers", f"{len(b)} layers"
        elif a != b:
            yield f"{prefix}{key}", a, b
