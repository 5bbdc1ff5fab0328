"""Finished layers -> tables, charts, run.json and the report."""

import json
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alpha_callbacks._version import __version__
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.checkpoints.remote.redirects import without_secrets
from alpha_callbacks.errors import JournalError, ResultsError
from alpha_callbacks.scanning.journal import Identity
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.further_csv import write_further
from alpha_callbacks.tables.results_folder import RUN, ResultsFolder
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.machine import peak_memory
from alpha_callbacks.utils.model_names import model_name
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)


@dataclass(frozen=True)
class Plots:
    """Which charts are drawn.

    Attributes:
        formats: any of "png", "pdf", "svg"; empty draws none.
        max_layers: layers in one combined chart.
        every_layer: draw every layer, however many there are; else up to 40, and of more those that stand out.
    """

    formats: tuple[str, ...] = ("png",)
    max_layers: int = 20
    every_layer: bool = False


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        table: one row per layer and precision.
        directory: where the files are.
        coverage: outcome ("analysed", "shared", "skipped") -> number of tensors.
        seconds: wall time without charts.
        uncharted: layers without a chart of their own; all have one in the report.
        notes: on the choice among files, and on what the results do not cover.
    """

    table: Table
    directory: Path
    coverage: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    uncharted: int = 0
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[str]:
        """Names of layers with a row that is not ok; an update of zero ("unchanged") has no alpha to miss."""
        return list(dict.fromkeys(row.layer_name for row in self.table if not row.ok and row.status != "unchanged"))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        tensors = ", ".join(f"{count} {outcome}" for outcome, count in self.coverage.items())
        report = self.directory / "report.html"
        where = f"Report: {report}" if report.exists() else f"Results in {self.directory}"
        return self.table.html(f"Tensors: {tensors}. {where}" if tensors else where)


def write_all(
    own: Identity,
    results: Mapping[str, Result],
    directory: Path,
    plots: Plots,
    record: Mapping[str, Any],
    *,
    report: bool = True,
    seconds: float = 0.0,
    on_chart: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Write tables, charts, run.json and the report.

    Args:
        own: what the layers were computed from.
        results: one per layer of `own`.
        directory: has coverage.csv already.
        plots: which charts.
        record: how this run came about, for run.json.
        report: write report.html.
        seconds: wall time of the analysis.
        on_chart: called with (charts written, charts in all).

    Raises:
        JournalError: a layer is missing.
    """
    missing = [name for name in own["layers"] if name not in results]
    if missing:
        raise JournalError(
            f"{directory}: expected {len(own['layers'])} finished layers, {len(missing)} are missing "
            f"(e.g. {missing[0]}). Run the shards that have them."
        )
    options = own["options"]
    rows = (row for name in own["layers"] for row in results[name].rows)
    model = model_name(str(record.get("source", directory)))
    table = Table.from_rows(rows, tuple(options["precisions"]), model)
    results_csv.write_results(table, directory / results_csv.RESULTS)
    results_csv.write_summary(table, directory / results_csv.SUMMARY)
    write_further(table, directory)
    shown = results_csv.as_printed(table)
    uncharted, drawn = 0, list[Path]()
    if plots.formats:
        from alpha_callbacks.plots.draw_scan import draw_all, with_own_chart

        uncharted = len(table) - len(with_own_chart(table, plots.every_layer))
        drawn = draw_all(
            shown,
            directory / "plots",
            formats=plots.formats,
            max_layers_per_plot=plots.max_layers,
            every_layer=plots.every_layer,
            spectra=ResultsFolder(directory).spectra,
            on_progress=on_chart,
        )
    charts = _remove_stale(directory, own, plots.formats, [path.relative_to(directory).as_posix() for path in drawn])
    provenance = {**record, **_provenance(own, results), "charts": charts}
    write_text(directory / RUN, json.dumps(provenance, indent=1) + "\n")
    if report:
        from alpha_callbacks.report.scan_page import write_report

        write_report(directory, shown)
    coverage = ResultsFolder(directory).coverage
    notes = tuple(record.get("notes", ()))
    return ScanResult(table, directory, coverage.counts if coverage else {}, seconds, uncharted, notes)


def _remove_stale(directory: Path, own: Identity, formats: tuple[str, ...], drawn: list[str]) -> list[str]:
    """Remove charts that the last run.json lists and that no longer belong to the tables; return those that are there.

    Those of other weights or options all go; of the same ones, those in the formats drawn now and not drawn again (as
    when there are fewer batches). The report of other weights or options goes too. Files that no run listed are never
    touched; nor is any where run.json is damaged, which must not cost the scan that is about to replace it.
    """
    try:
        before = ResultsFolder(directory).run
    except ResultsError as error:
        _log.warning("alpha-Hill: charts of the scan before stay in %s: %s", directory, error)
        return drawn
    if not before:
        return drawn
    listed = [name for name in map(str, before.get("charts", ())) if name not in drawn]
    same = all(before.get(name) == own[name] for name in ("options", "checkpoint"))
    if not same:
        (directory / "report.html").unlink(missing_ok=True)
    kept = []
    for name in listed:
        path = (directory / name).resolve()
        if not path.is_relative_to((directory / "plots").resolve()):
            continue
        if same and path.suffix.removeprefix(".") not in formats:
            kept.append(name)
        else:
            path.unlink(missing_ok=True)
    return [*drawn, *kept]


def _provenance(own: Identity, results: Mapping[str, Result]) -> dict[str, Any]:
    """Return what is needed to repeat the run, and what it cost."""
    packages = {name: _version(name) for name in ("torch", "numpy", "safetensors", "matplotlib")}
    return {
        "layer_seconds": {name: round(results[name].seconds, 3) for name in own["layers"]},
        "peak_memory_bytes": peak_memory(),
        "options": own["options"],
        "checkpoint": own["checkpoint"],
        "versions": {"python": platform.python_version(), "alpha-callbacks": __version__, **packages},
        "command": _command(sys.argv),
    }


def _command(words: Sequence[str]) -> str:
    """Return a command as it can be typed again, without what is secret in it: results are shown to others.

    Examples:
        >>> _command(["/venv/bin/alpha-hill", "scan", "my model", "--filter-layers", "q_proj|k_proj"])
        "alpha-hill scan 'my model' --filter-layers 'q_proj|k_proj'"
        >>> _command(["/site-packages/alpha_callbacks/__main__.py", "scan"])
        'alpha-hill scan'
    """
    ours = Path(words[0]).name == "alpha-hill" or Path(words[0]).parts[-2:] == ("alpha_callbacks", "__main__.py")
    return shlex.join(without_secrets(word) for word in ("alpha-hill" if ours else words[0], *words[1:]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
