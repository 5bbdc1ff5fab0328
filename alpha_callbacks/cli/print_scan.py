"""What a person sees at the end of a scan, on stdout."""

import math

from rich.table import Table as RichTable

from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.scanning.write_results import ScanResult
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.table import LayerRows, Table


def print_scan(result: ScanResult) -> None:
    """Print the summary, the outstanding layers, what was learned, the coverage, and where the files are."""
    table, out = result.table, console()
    out.print(_summary(table))
    out.print(_outstanding(table))
    for sentence in (*result.notes, *findings(table)):
        out.print(f"• {escape(sentence)}")
    out.print(f"\n{_coverage(result)}")
    out.print(
        f"Results in [bold]{escape(str(result.directory))}[/bold]: "
        f"{'report.html, ' if (result.directory / 'report.html').exists() else ''}"
        f"{results_csv.RESULTS}, {results_csv.SUMMARY}, "
        f"{'plots/, ' if (result.directory / 'plots').is_dir() else ''}"
        f"{'spectra/, ' if (result.directory / 'spectra').is_dir() else ''}run.json"
    )
    if result.uncharted:
        out.print(f"{result.uncharted} layers have no chart file of their own (--plots all); report.html shows each.")
    if result.failed:
        names = ", ".join(map(escape, result.failed[:5])) + (", …" if len(result.failed) > 5 else "")
        out.print(f"[yellow]{len(result.failed)} layers have a row without alpha: {names}[/yellow]")


def _summary(table: Table) -> RichTable:
    grid = RichTable(
        "precision", *[c for c in ("count", "mean", "median", "min", "max")], title="alpha-Hill", title_justify="left"
    )
    for column in grid.columns[1:]:
        column.justify = "right"
    for s in table.summaries():
        grid.add_row(s.precision, s.counted, *(f"{value:.6f}" for value in (s.mean, s.median, s.min, s.max)))
    return grid


def _outstanding(table: Table) -> RichTable:
    """Return the heaviest clear tails for their shape and the largest drifts in one table."""
    grid = RichTable("layer", "shape", "alpha", "/ noise", "why", title="Layers that stand out", title_justify="left")
    grid.columns[0].overflow = "fold"
    for column in grid.columns[2:4]:
        column.justify = "right"
    for layer in table.heaviest():
        grid.add_row(*_cells(layer, table), "heaviest")
    for layer, name, drift in table.most_drifted():
        grid.add_row(*_cells(layer, table), f"{name} {drift:+.1e}")
    return grid


def _cells(layer: LayerRows, table: Table) -> tuple[str, str, str, str]:
    row = layer[table.reference]
    ratio = "" if math.isnan(row.alpha_ratio) else f"{row.alpha_ratio:.2f}"
    return escape(row.layer_name), f"{row.out_features}x{row.in_features}", f"{row.alpha:.4f}", ratio


def _coverage(result: ScanResult) -> str:
    counts = {"analysed": 0, "shared": 0, "skipped": 0, **result.coverage}
    parts = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"Coverage: {parts} (each with its reason in {results_csv.COVERAGE})."
