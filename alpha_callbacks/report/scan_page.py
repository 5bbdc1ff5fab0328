"""A results folder -> report.html."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.planning.plan_sentences import sentences_of
from alpha_callbacks.planning.recommendation_files import WrittenRecommendation, read_recommendation
from alpha_callbacks.report.columns import layer_columns
from alpha_callbacks.report.packing import packed
from alpha_callbacks.report.page_shell import Section, fill, headline, render_page
from alpha_callbacks.report.plan_section import plan_section
from alpha_callbacks.report.standouts import reasons_of, sentences, standouts, tiles
from alpha_callbacks.report.thinned import curve_columns
from alpha_callbacks.tables.expert_grid import expert_grid
from alpha_callbacks.tables.low_bit import low_bit
from alpha_callbacks.tables.results_folder import REPORT, Coverage, ResultsFolder
from alpha_callbacks.tables.same_bits import same_columns
from alpha_callbacks.tables.statistics import PrecisionSummary
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.model_names import model_name
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)
T = TypeVar("T")

_SCRIPTS = (
    "law.js", "layers.js", "metrics.js", "curves.js", "panel_facts.js", "panel_plots.js", "panel.js", "strip.js",
    "heat.js", "experts.js", "table.js", "plan.js", "report.js",
)  # fmt: skip
_SHOWN = 100  # names of rows lost for one reason; all are in the tables
_LISTED = 200  # names of one group of tensors; all are in coverage.csv


def write_report(directory: str | Path, table: Table | None = None, *, output: str | Path | None = None) -> Path:
    """Write the report of a scan: one HTML file that opens offline.

    Args:
        directory: output folder of the scan.
        table: its rows; None reads them from the folder.
        output: file to write; None: report.html in the folder.

    Returns:
        The file.

    Raises:
        ResultsError: the folder holds no results of this version. Damage to any other file costs only its section: the
            page and a warning say so.
    """
    folder = ResultsFolder(directory)
    path = Path(output) if output else folder.path / REPORT
    write_text(path, report_html(folder.path, table or folder.table))
    return path


def report_html(directory: Path, table: Table) -> str:
    """Return the report of a table and of the other files in the folder of its scan."""
    folder, damaged = ResultsFolder(directory), list[str]()

    def unless_damaged(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except ResultsError as error:
            if (told := f"A part of this report is left out. {error}") in damaged:  # two sections read it
                return otherwise
            damaged.append(told)
            _log.warning("alpha-Hill: a part of the report is left out. %s", error)
            return otherwise

    no_record: Mapping[str, Any] = {}
    run = unless_damaged(lambda: folder.run, no_record)
    coverage = unless_damaged(lambda: folder.coverage, None)
    advice = unless_damaged(lambda: read_recommendation(directory), None)
    plan = unless_damaged(lambda: plan_section(directory, table), None)
    table = replace(table, model=table.model or model_name(str(run.get("source", directory))))
    curves = curve_columns(table, folder.spectra)
    damaged += [f"The spectra of some layers are left out. {problem}" for problem in curves["problems"][:1]]
    precisions = f"{len(table.precisions)} precision{'s' * (len(table.precisions) > 1)}"
    subtitle = f"Heavy-tail exponent of {len(table):,} weight matrices at {precisions}: {', '.join(table.precisions)}"
    found = (
        plan,
        _findings(table, [*map(str, run.get("notes", ())), *damaged]),
        _map(table, curves),
        _experts(table),
        _formats(table),
        _layers(),
        _estimators(table),
        _distribution(table),
        _advice(advice),
        _coverage(coverage, table),
        _reproduce(run),
    )
    sections = [section for section in found if section is not None]
    return render_page(
        table.model,
        sections,
        kind="alpha-Hill report",
        subtitle=subtitle,
        scripts=_SCRIPTS,
        styles=("report.css", "plan.css"),
    )


def _findings(table: Table, notices: list[str]) -> Section:
    html = fill(
        "findings.html", notices=notices, headline=headline(tiles(table), sentences(table)), groups=standouts(table)
    )
    return Section("findings", "Findings", html)


def _map(table: Table, curves: dict[str, Any]) -> Section:
    data = {"layers": layer_columns(table), "curves": curves}
    inside = any(layer.first.block is not None for layer in table.layers)
    what = (
        "One cell per block and projection. Open a cell to see its layers"
        if inside
        else "One tile per layer. Open a tile to see it"
    )
    intro = f"{what}: click, or move with the arrow keys and press Enter; Escape closes it."
    return Section("map", "Map", fill("map.html"), data=data, intro=intro)


def _experts(table: Table) -> Section | None:
    grid = expert_grid(table.layers)
    if not grid:
        return None
    numbers = {layer.first.layer_name: i for i, layer in enumerate(table.layers)}
    placed = [(*place, numbers[layer.first.layer_name]) for p in grid.places.values() for place, layer in p.items()]
    rows, experts, layers = zip(*placed, strict=True)
    data = {
        "rows": list(grid.rows), "columns": grid.columns, "row": packed(rows, "u4"), "expert": packed(experts, "u4"),
        "layer": packed(layers, "u4"),
    }  # fmt: skip
    intro = (
        "One row per block, one cell per expert: point at one, or move with the arrow keys; a click or Enter opens its "
        "layer. Right: from smallest to largest of each block, thick between its quartiles, a mark at its median."
    )
    return Section("experts", "Experts", fill("experts.html"), data=data, intro=intro)


def _formats(table: Table) -> Section | None:
    if len(low_bit(table)) < 2:  # the table of layers has the error of a single one
        return None
    intro = "What each format below 16 bits costs each layer: one column per format; a click on a heading sorts by it."
    return Section("formats", "Formats", fill("formats.html"), intro=intro)


def _estimators(table: Table) -> Section | None:
    if not any(row.estimates for row in table):
        return None
    intro = "The tail exponent as other estimators fit it, beside Hill's."
    return Section("estimators", "Estimators", fill("estimators.html"), intro=intro)


def _layers() -> Section:
    return Section("layers", "Layers", fill("layers.html"))


def _distribution(table: Table) -> Section:
    html = fill("distribution.html", summaries=_summaries(table))
    return Section("distribution", "Distribution", html)


def _summaries(table: Table) -> list[PrecisionSummary]:
    """Return the statistics of alpha, once for all precisions with the same alphas."""
    same = same_columns(table)
    names = {name: " = ".join(other for other, first in same.items() if first == name) for name in same.values()}
    return [replace(one, precision=names[one.precision]) for one in table.summaries() if one.precision in names]


def _advice(advice: WrittenRecommendation | None) -> Section | None:
    if advice is None:
        return None
    columns = ("layer_name", "precision", "effective_bits", "alpha_ratio", "relative_error", "reason")
    data = {name: [line.get(name, "") for line in advice.lines] for name in columns}
    counts = advice.counts()
    weights = sum(weights for _, weights in counts.values()) or 1
    shares = [(name, layers, count / weights) for name, (layers, count) in counts.items()]
    html = fill(
        "advice.html",
        said=sentences_of(advice.policy, advice.settings),
        shares=sorted(shares, key=lambda entry: -entry[2]),
    )
    return Section("recommendation", "Recommendation", html, data=data)


def _coverage(coverage: Coverage | None, table: Table) -> Section | None:
    lost = [(status, reason, names[:_SHOWN], len(names)) for status, reason, names in reasons_of(table)]
    if coverage is None and not lost:
        return None
    return Section("coverage", "Coverage", fill("coverage.html", coverage=coverage, lost=lost, listed=_LISTED))


def _reproduce(run: Mapping[str, Any]) -> Section | None:
    if not run:
        return None
    facts = {name: run[name] for name in ("source", "device", "seconds", "ranks", "merged") if run.get(name)}
    if isinstance(memory := run.get("peak_memory_bytes"), int):
        facts["peak memory"] = f"{memory / 2**20:,.0f} MiB"
    tables = [
        ("Options", _pairs(run.get("options"))),
        ("Run", _pairs(facts)),
        ("Versions", _pairs(run.get("versions"))),
        ("Checkpoint", _pairs(run.get("checkpoint"))),
    ]
    html = fill("reproduce.html", command=str(run.get("command", "")), tables=[entry for entry in tables if entry[1]])
    return Section("reproduce", "Reproduce", html)


def _pairs(content: object) -> list[tuple[str, str]]:
    """Return the entries of a JSON object as text."""
    if not isinstance(content, dict):
        return []
    return [(str(name), _text(value)) for name, value in content.items()]


def _text(value: object) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None or value == "" else str(value)
