"""The sides of a comparison as a user names them (a scan, a checkpoint, a step of a run) -> their tables."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alpha_callbacks.comparison.read_history import AlphaHistory, find_history, read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.foreign_text import safe_file_name
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.results_csv import RESULTS
from alpha_callbacks.tables.results_folder import ResultsFolder
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.model_names import model_name

CACHE = "scans"  # folder of scans made for a comparison
_TAIL = ("k_frac", "k_min", "threshold", "load_dtype")  # what decides an alpha

Scan = Callable[[str, Path, AnalysisOptions], Table]  # (source, output folder, options) -> table


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: its name.
        table: its layers.
        options: of the scan, if there is a run.json beside the table; otherwise empty.
    """

    label: str
    table: Table
    options: Mapping[str, Any]


def open_sides(
    a: str,
    b: str | None,
    *,
    scan: Scan,
    cache: Path,
    options: AnalysisOptions,
    steps: Sequence[int] = (),
    precisions: tuple[str, ...] = (),
) -> tuple[Side, Side]:
    """Return the two tables that are meant.

    Args:
        a: results of a scan (folder or CSV), a checkpoint, or a training history.
        b: the same; None: two steps of the history `a`, or two precisions of the scan `a`.
        scan: makes a table of a checkpoint.
        cache: folder for such scans.
        options: for such scans; the options about tails in the other side's run.json take precedence.
        steps: of a history: two, or one for both sides. Empty: its first and last, or the last of two histories.
        precisions: the precisions that were asked for.

    Raises:
        OptionError: nothing to compare with, or steps of a source that has none.
        ResultsError: a damaged results file, history or run.json.
        CheckpointError: neither results nor a checkpoint.
    """
    if b is None:
        return _one_source(a, steps, precisions)
    found = [_read(source, _step(steps, i)) for i, source in enumerate((a, b))]
    if steps and not any(_is_history(Path(source)) for source in (a, b)):
        raise OptionError(f"steps: expected a training history ({HISTORY}) for --steps, got {a} and {b}.")
    other = next((side for side in found if side is not None), None)
    if other is not None:
        known = {name: other.options[name] for name in _TAIL if name in other.options}
        others = set(options.estimators) - {"hill"}  # which is always there
        fits = options.estimators if others else ("hill", *other.table.estimators)
        options = replace(options, **known, precisions=precisions or (other.table.reference,), estimators=fits)
    sides = [
        side or Side(source_name(source), scan(source, cache / _folder(source, options), options), {})
        for source, side in zip((a, b), found, strict=True)
    ]
    _same_options(sides, (a, b))
    first, second = sides
    if first.label == second.label:
        first, second = (replace(side, label=_longer(source, side)) for side, source in zip(sides, (a, b), strict=True))
    return first, second


def _one_source(a: str, steps: Sequence[int], precisions: tuple[str, ...]) -> tuple[Side, Side]:
    path = Path(a)
    if not path.exists():
        raise OptionError(f"{a}: expected a second argument, or a path to compare within, found nothing there.")
    if find_history(path).is_file() and not _results(path):
        history = read_history(path)
        first, last = steps if len(steps) == 2 else (history.steps[0], history.steps[-1])
        if len(steps) == 1 or first == last:
            raise OptionError(f"{history.path}: expected two different steps to compare, got {steps or history.steps}.")
        return _step_side(history, first), _step_side(history, last)
    if not _results(path):
        raise OptionError(
            f"{a}: expected a second argument, results of a scan with --precision A,B, or a training history "
            f"({HISTORY}). Give one of these."
        )
    table = ResultsFolder(path).table
    if len(precisions) != 2 and len(table.precisions) == 2:
        precisions = (table.reference, next(name for name in table.precisions if name != table.reference))
    if len(precisions) != 2:
        raise OptionError(
            f"{a}: expected something to compare with: a second argument, or two of its precisions "
            f"({', '.join(table.precisions)}) as --precision A,B."
        )
    return Side(precisions[0], table, {}), Side(precisions[1], table, {})


def _read(source: str, step: int | None) -> Side | None:
    """Return the side of results or of a history; None for a checkpoint."""
    path = Path(source)
    if _results(path):
        folder = ResultsFolder(path)
        return Side(source_name(path), folder.table, folder.run.get("options", {}))
    if not _is_history(path):
        return None
    history = read_history(path)
    side = _step_side(history, history.steps[-1] if step is None else step)
    return replace(side, label=f"{source_name(path)}, {side.label}")


def is_checkpoint(source: str) -> bool:
    """Return True for anything but results and training histories."""
    return not (_results(Path(source)) or _is_history(Path(source)))


def _step(steps: Sequence[int], i: int) -> int | None:
    return (steps[i] if len(steps) > 1 else steps[0]) if steps else None


def _step_side(history: AlphaHistory, step: int) -> Side:
    """Return a step: the full results that the callback wrote beside the history, or else what the history holds."""
    table = history.table(step)
    if (history.folder(step) / RESULTS).is_file():
        table = ResultsFolder(history.folder(step)).table
    return Side(f"step {step}", table, {})


def _results(path: Path) -> bool:
    if path.is_dir():
        return (path / RESULTS).is_file()
    return path.suffix.lower() == ".csv" and not _is_history(path)


def _is_history(path: Path) -> bool:
    """Return True for a history or the folder of one; whether it is damaged is found out by reading it."""
    if path.is_dir():
        # The output folder of a run may hold its last model too: then that is meant.
        return (path / HISTORY).is_file() or (find_history(path).is_file() and not any(path.glob("*.safetensors")))
    if not path.is_file() or path.suffix.lower() != ".csv":
        return False
    with path.open("rb") as file:
        return path.name == HISTORY or file.readline().startswith(b"step,")


def _same_options(sides: Sequence[Side], sources: tuple[str, str]) -> None:
    """Refuse scans whose run.json names different tails."""
    first, second = (side.options for side in sides)
    for name in _TAIL[:3]:
        if name in first and name in second and first[name] != second[name]:
            raise OptionError(
                f"{name}: expected the same for both scans, got {first[name]} in {sources[0]} and {second[name]} in "
                f"{sources[1]}. Alphas of different tails cannot be compared: scan one of them again."
            )


def _folder(source: str, options: AnalysisOptions) -> str:
    """Return a folder name that no other source and no other options have."""
    path = Path(source)
    told = f"{path.resolve() if path.exists() else source} {replace(options, device='cpu')}"
    return f"{safe_file_name(source_name(path))[:60]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def source_name(source: str | Path) -> str:
    """Return the name of a folder of results, a checkpoint or a run."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() == ".csv":
        path = path.resolve().parent
    if path.is_dir() and path.resolve().name == "alpha_hill":
        path = path.resolve().parent
    return model_name(path)


def _longer(source: str, side: Side) -> str:
    path = Path(source)
    return f"{path.resolve().parent.name}/{side.label}" if path.exists() else side.label
