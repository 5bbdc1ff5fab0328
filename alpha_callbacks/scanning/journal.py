"""Finished layers on disk, one line each, so that a killed run can continue and shards can be merged."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from alpha_callbacks._version import __version__
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import JournalError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.sealed_lines import sealed, unsealed, without_seal
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.full_disk import naming
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.utils.regular_files import read_regular

_log = own_logger(__name__)

_FORMAT = 3  # 2 had no checksums
_SECONDS_AT_RISK = 1.0  # waiting for the disk after each of thousands of small layers takes longer than the layers
FOLDER = "journal"
NOTES = "notes"  # key of a header: what was said of the choice of files, for `merge`; no part of the identity
_PROVED = "proved"  # key of a header: the error bounds of `fast` are proofs; those of 0.2.0 were estimates

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
        **({_PROVED: True} if options.solver == "fast" else {}),
    }


def read_journal(folder: Path, expected: Identity | None = None) -> tuple[Identity | None, dict[str, Result]]:
    """Return (identity, finished layers) of all parts in a folder.

    A last line cut short by a kill is dropped, and so is a damaged one, with a warning: its layer is computed again.
    Parts come from earlier runs, other ranks or other shards.

    Raises:
        JournalError: a part belongs to another run than `expected` or than the first part; names the difference.
    """
    found, results = expected, dict[str, Result]()
    for file in sorted(folder.glob("*.jsonl")):
        part = _read_part(file)
        if part.header is not None:
            found = found or part.header
            if found["format"] != _FORMAT:
                raise JournalError(
                    f"{file}: expected a journal of format {_FORMAT}, got {found['format']}: an earlier version wrote "
                    "it. Scan again with --no-resume."
                )
            if part.header["options"].get("solver") == "fast" and _PROVED not in part.header:
                raise JournalError(
                    f"{file}: expected proved error bounds of --solver fast, got estimates: an earlier version wrote "
                    "them. Scan again with --no-resume, or take another --output-dir."
                )
            _require_same(file, part.header, found)
            results.update(part.results)
        if part.damaged:
            _log.warning(
                "%s: %s of %d, not as written; what a scan finds no sound line of, it computes again.",
                file,
                counted(part.damaged, "damaged line"),
                part.damaged + len(part.lines),
            )
    return found, results


def _content(row: Row) -> dict[str, Any]:
    """Return what `asdict` returns, which takes longer than all else of a small layer."""
    return {**vars(row), "estimates": [asdict(fit) for fit in row.estimates]}


def _row(content: Mapping[str, Any]) -> Row:
    """Return the row that a line of JSON holds."""
    return Row(**{**content, "estimates": tuple(TailEstimate(**fit) for fit in content.get("estimates", ()))})


class JournalWriter:
    """Appends to one part, whose `only_writer` its caller is.

    A layer outlives the process when `add` returns, and the machine's power within a second of scanning.
    """

    def __init__(self, folder: Path, part: str, header: Identity) -> None:
        """Open `folder/part.jsonl`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{part}.jsonl"
        self._file: BinaryIO = path.open("ab")
        self._synced = 0.0
        if not self._sound_lines(path):
            self._line(header)

    def add(self, result: Result) -> None:
        """Append one finished layer."""
        self._line({"layer": result.layer_name, "seconds": result.seconds, "rows": list(map(_content, result.rows))})

    def _sound_lines(self, path: Path) -> list[bytes]:
        """Leave only the lines that are as they were written, and return them."""
        content, lines, same = path.read_bytes(), _read_part(path).lines, 0
        for line in lines:
            if not content.startswith(line + b"\n", same):
                break
            same += len(line) + 1
        self._file.truncate(same)
        if sound := b"".join(line + b"\n" for line in lines)[same:]:
            self._append(sound)
        return lines

    def _line(self, content: Mapping[str, Any]) -> None:
        self._append(sealed(content) + b"\n")

    def _append(self, data: bytes) -> None:
        with naming(Path(self._file.name)):
            self._file.write(data)
            self._file.flush()
            if time.monotonic() - self._synced > _SECONDS_AT_RISK:
                self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __enter__(self) -> "JournalWriter":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the part."""
        with naming(Path(self._file.name)), closing(self._file):
            self._sync()


@dataclass
class _Part:
    """What is sound in a file.

    Attributes:
        header: what the layers were computed from; None where it is damaged, and then nothing else counts.
        results: layer name -> what became of it.
        lines: those that are as they were written, the header first.
        damaged: number of the others. A line cut short at the end is none: a kill leaves it.
    """

    header: Identity | None = None
    results: dict[str, Result] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    damaged: int = 0


def _read_part(file: Path) -> _Part:
    first, *rest = read_regular(file).split(b"\n")[:-1] or [b""]
    header = unsealed(first) or _of_earlier_format(first)
    if header is None:
        return _Part(damaged=len(rest) + bool(first))
    part = _Part(header, lines=[first])
    for line in rest:
        entry = unsealed(line)
        if entry is None:
            part.damaged += 1
            continue
        part.lines.append(line)
        rows = tuple(map(_row, entry["rows"]))
        part.results[entry["layer"]] = Result(entry["layer"], rows, entry["seconds"])
    return part


def _of_earlier_format(line: bytes) -> Identity | None:
    """Return the header of a part without checksums, which is refused by what differs, not taken for damaged."""
    header = without_seal(line)
    older = header is not None and header.get("format") in range(1, _FORMAT) and "checksum" not in header
    return header if older else None


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
