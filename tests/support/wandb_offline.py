"""Reader of what an offline W&B run wrote: rows, metric definitions, summary, artifacts and files, without network."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768  # the LevelDB log format; a record that does not fit a block is split
_FILE_HEADER = 7  # ":W&B", a magic number and a version
_RECORD_HEADER = 7  # checksum (4), length (2), type (1): full 1, first 2, middle 3, last 4

_PATIENCE = 20.0  # seconds


@dataclass
class OfflineRun:
    """Content of one run folder.

    Attributes:
        folder: of the run.
        run_id: as in the web address.
        rows: history, one dict a `run.log`, in order, without wandb's own keys except `_step`.
        metrics: name or glob -> the last `MetricRecord` that was defined under it.
        summary: final summary, without wandb's own keys.
        artifacts: all artifact records, with `name`, `type` and `manifest`.
        files: paths of media, relative to the run's `files/`.
        alerts: (title, text, level) of each alert.
        exited: True if the run was finished and all of it is on disk.
    """

    folder: Path
    run_id: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    alerts: list[tuple[str, str, str]] = field(default_factory=list)
    exited: bool = False

    def user_artifacts(self) -> list[Any]:
        """Return the artifacts that somebody logged, without those that wandb makes for every table."""
        return [artifact for artifact in self.artifacts if artifact.type != "run_table"]

    def media(self, value: dict[str, Any]) -> Path:
        """Return the file of a media value of a row."""
        return self.folder / "files" / str(value["path"])

    def table(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return columns and data of a table value of a row."""
        content: dict[str, Any] = json.loads(self.media(value).read_text(encoding="utf-8"))
        return content


def read_offline_runs(folder: Path) -> list[OfflineRun]:
    """Return all runs under WANDB_DIR, which must be finished, in the order of their names (date, time, id)."""
    return [_read_finished(path) for path in sorted(folder.rglob("run-*.wandb"))]


def read_offline_run(folder: Path) -> OfflineRun:
    """Return the only run under WANDB_DIR."""
    (run,) = read_offline_runs(folder)
    return run


def _read_finished(path: Path) -> OfflineRun:
    """Wait for the last record: on a busy machine `finish` returns before wandb's own process has written it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        run = _read(path)
        if run.exited:
            return run
        assert time.monotonic() < deadline, f"{path.name}: no exit record; was the run finished?"
        time.sleep(0.05)


def _read(path: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    run = OfflineRun(path.parent)
    for payload in _payloads(path.read_bytes()):
        record = Record.FromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.run_id = record.run.run_id
        elif kind == "history":
            run.rows.append({})
            _put(record.history.item, run.rows[-1])
        elif kind == "metric":
            run.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "summary":
            _put(record.summary.update, run.summary)
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "alert":
            run.alerts.append((record.alert.title, record.alert.text, record.alert.level))
        elif kind == "files":
            run.files += [item.path for item in record.files.files]
        elif kind == "exit":
            run.exited = True
    return run


def _put(items: Any, target: dict[str, Any]) -> None:
    """Put values in; wandb flattens nested ones (media), each leaf with its path of keys."""
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        if not (parents or last == "_step" or not last.startswith("_")):
            continue
        place = target
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = json.loads(item.value_json)


def _payloads(data: bytes) -> Iterator[bytes]:
    assert b":W&B".startswith(data[:4]), "not a .wandb file"  # it is empty at first
    position, parts = _FILE_HEADER, b""
    while position + _RECORD_HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _RECORD_HEADER:  # the rest of a block is padding where no header fits
            position += left
            continue
        size, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        position += _RECORD_HEADER
        if position + size > len(data):  # still being written
            return
        parts += data[position : position + size]
        position += size
        if kind in (1, 4):
            yield parts
            parts = b""
