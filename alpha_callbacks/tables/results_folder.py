"""The output folder of a scan, read in one place and with one policy: absent is None or empty, damaged is an error."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.tables.checked_files import read_csv_lines, read_json_object
from alpha_callbacks.tables.further_csv import with_further
from alpha_callbacks.tables.read_results import read_results
from alpha_callbacks.tables.results_csv import COVERAGE
from alpha_callbacks.tables.spectra_files import Spectra, open_spectra
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.lazy import lazy_property

RUN = "run.json"
REPORT = "report.html"
_REMEDY = "Scan again, or remove the file to go on without it."
_RUN_TYPES = {
    "options": dict,
    "checkpoint": dict,
    "versions": dict,
    "charts": list,
    "notes": list,
    "source": str,
    "command": str,
}


@dataclass(frozen=True)
class Group:
    """Tensors with the same outcome for the same reason."""

    outcome: str
    reason: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """The outcome of every tensor of a checkpoint.

    Attributes:
        counts: outcome ("analysed", "shared", "skipped", ...) -> number of tensors.
        groups: those that were not simply analysed, by outcome and reason, the largest group first.
    """

    counts: Mapping[str, int]
    groups: tuple[Group, ...]


class ResultsFolder:
    """What `scan` (and, in `planning.recommendation_files`, `recommend`) left in a folder.

    Each file is read when its property is first asked for. A file that is absent is None or empty, as the property
    says; one that is there but damaged raises ResultsError, which names the file.

    Args:
        path: the folder, or the results CSV in it.

    Raises:
        OptionError: path is no path.
    """

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, str | Path):
            raise OptionError(f"results: expected a folder or file, got {type(path).__name__}. Give a path.")
        self._given = Path(path)
        self.path = self._given.parent if self._given.is_file() else self._given

    @lazy_property
    def table(self) -> Table:
        """The results; without them the folder holds none, which is a ResultsError too."""
        return with_further(read_results(self._given), self.path)

    @lazy_property
    def run(self) -> Mapping[str, Any]:
        """run.json: how the scan came about (`options`, `source`, `checkpoint`, `versions`, ...); empty if absent."""
        content = read_json_object(self.path / RUN, remedy=_REMEDY) or {}
        for name, kind in _RUN_TYPES.items():
            if name in content and not isinstance(content[name], kind):
                got = type(content[name]).__name__
                raise ResultsError(f"{self.path / RUN}: expected {name} as {kind.__name__}, got {got}. {_REMEDY}")
        return content

    @property
    def source(self) -> str:
        """The checkpoint that was scanned, as run.json names it; "" if it does not."""
        return str(self.run.get("source", ""))

    @lazy_property
    def coverage(self) -> Coverage | None:
        """coverage.csv: the outcome of every tensor; None if absent."""
        columns = ("name", "outcome", "shape", "reason")
        lines = read_csv_lines(self.path / COVERAGE, required=columns, remedy=_REMEDY)
        if lines is None:
            return None
        grouped: dict[tuple[str, str], list[str]] = {}
        for line in lines:
            if line["outcome"] != "analysed" or line["reason"]:
                shape = f" ({line['shape']})" if line["shape"] else ""
                grouped.setdefault((line["outcome"], line["reason"]), []).append(f"{line['name']}{shape}")
        groups = sorted((Group(*key, tuple(names)) for key, names in grouped.items()), key=lambda g: -len(g.names))
        return Coverage(dict(Counter(line["outcome"] for line in lines)), tuple(groups))

    @property
    def spectra(self) -> Spectra:
        """The eigenvalues by layer, empty if none were kept; a damaged file is an error when its layer is read."""
        return open_spectra(self.path)


def table_of(source: Table | str | Path, name: str) -> Table:
    """Return a table, read from the folder or CSV file of a scan if it is not one yet.

    Args:
        source: a table or a path.
        name: of the argument, for the message.

    Raises:
        OptionError: neither a table nor a path.
        ResultsError: no results there.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        return ResultsFolder(source).table
    raise OptionError(
        f"{name}: expected a Table, or the folder or results CSV of a scan, got {type(source).__name__}. "
        "Read other data into a Table first."
    )
