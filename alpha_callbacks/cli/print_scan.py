"""What a person sees at the end of a scan, on stdout."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table as RichTable

from alpha_callbacks.cli.layer_table import Heading, layer_table
from alpha_callbacks.cli.terminal import console, escape
from alpha_callbacks.scanning.write_results import ScanResult
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.low_bit import FormatCost, format_costs, low_bit, shares
from alpha_callbacks.tables.results_folder import REPORT
from alpha_callbacks.tables.same_bits import same_columns
from alpha_callbacks.tables.table import LayerRows, Table

_EACH, _FEW = 5, 3  # layers of a kind, without and with errors among them
# What is left out first stands last.
_HEADINGS = (
    Heading("why", left=True), Heading("/ noise", True), Heading("share", True), Heading("alpha", True),
    Heading("weights", True), Heading("shape", True),
)  # fmt: skip


def print_scan(result: ScanResult) -> None:
    """Print the summary, the outstanding layers, what was learned, the coverage, and where the files are."""
    table, out = result.table, console()
    if costs := format_costs(table):
        out.print(_formats(costs, out))
    out.print(_summary(table, out))
    out.print(_outstanding(table, out))
    for sentence in (*result.notes, *findings(table)):
        out.print(f"• {escape(sentence)}")
    out.print(f"\n{_coverage(result)}")
    out.print(
        f"Results in [bold]{escape(str(result.directory))}[/bold]: "
        f"{f'{REPORT}, ' if (result.directory / REPORT).exists() else ''}"
        f"{results_csv.RESULTS}, {results_csv.SUMMARY}, "
        f"{'plots/, ' if (result.directory / 'plots').is_dir() else ''}"
        f"{'spectra/, ' if (result.directory / 'spectra').is_dir() else ''}run.json"
    )
    if result.uncharted:
        out.print(f"{result.uncharted} layers have no chart file of their own (--plots all); report.html shows each.")
    if result.failed:
        names = ", ".join(map(escape, result.failed[:5])) + (", …" if len(result.failed) > 5 else "")
        out.print(f"[yellow]{len(result.failed)} layers have a row without alpha: {names}[/yellow]")


def _formats(costs: Sequence[FormatCost], out: Console) -> RichTable:
    """Return what each format below 16 bits costs: the question of those who scan one."""
    headings = (
        Heading("median error"), Heading("largest"), Heading("SQNR, dB", True), Heading("MB"), Heading("bits", True),
    )  # fmt: skip
    rows = [
        (
            f"{cost.error:.2%}",
            f"{cost.worst.relative_error:.2%}",
            f"{-20 * math.log10(cost.error):.1f}" if cost.error else "",
            f"{cost.megabytes:,.1f}",
            f"{cost.bits:.2f}",
        )
        for cost in costs
    ]
    names = [cost.precision for cost in costs]
    return layer_table(out, "Relative error of the weights", names, headings, rows, of="format")


def _summary(table: Table, out: Console) -> RichTable:
    """Return the statistics of alpha, once for all precisions with the same alphas."""
    same = same_columns(table)
    shown = [one for one in table.summaries() if same[one.precision] == one.precision]
    names = [" = ".join(name for name, first in same.items() if first == one.precision) for one in shown]
    rows = [(one.counted, *(f"{v:.6f}" for v in (one.mean, one.median, one.min, one.max))) for one in shown]
    headings = (Heading("count"), Heading("mean", True), Heading("median"), Heading("min", True), Heading("max", True))
    return layer_table(out, "alpha-Hill", names, headings, rows, of="precision")


def _outstanding(table: Table, out: Console) -> RichTable:
    """Return the largest errors, the heaviest clear tails for their shape and the largest drifts in one table."""
    low, most = low_bit(table.main), _EACH
    found: list[tuple[LayerRows, str]] = []
    if low:
        rows = [layer for layer in table.main.layers if not math.isnan(layer[low[-1]].relative_error)]
        worst = sorted(rows, key=lambda layer: -layer[low[-1]].relative_error)[:most]
        found += [(layer, f"{low[-1]} error {layer[low[-1]].relative_error:.2%}") for layer in worst]
        most = _FEW
    found += [(layer, "heaviest tail") for layer in table.heaviest(most)]
    found += [(layer, f"{name} drift {drift:+.1e}") for layer, name, drift in table.most_drifted(most)]
    part = shares(table)
    cells = [_cells(layer, why, part, table.reference) for layer, why in found]
    names = [layer.first.layer_name for layer, _ in found]
    return layer_table(out, "Layers that stand out", names, _HEADINGS, cells)


def _cells(layer: LayerRows, why: str, part: Mapping[str, float], reference: str) -> tuple[str, ...]:
    row = layer[reference]
    ratio = "" if math.isnan(row.alpha_ratio) else f"{row.alpha_ratio:.2f}"
    share = _percent(part[row.layer_name]) if row.layer_name in part else ""
    shape = f"{row.out_features}x{row.in_features}"
    return why, ratio, share, f"{row.alpha:.4f}", _counted(row.out_features * row.in_features), shape


def _percent(share: float) -> str:
    """Return a share that is never rounded down to nothing.

    Examples:
        >>> _percent(0.2107), _percent(0.0002)
        ('21.1%', '<0.1%')
    """
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def _counted(weights: int) -> str:
    """Return a number of weights in at most six characters.

    Examples:
        >>> _counted(110_592), _counted(28_311_552), _counted(900)
        ('110.6K', '28.3M', '900')
    """
    size, unit = next((pair for pair in ((1e9, "B"), (1e6, "M"), (1e3, "K")) if weights >= pair[0]), (1, ""))
    return f"{weights / size:.1f}{unit}" if unit else str(weights)


def _coverage(result: ScanResult) -> str:
    counts = {"analysed": 0, "shared": 0, "skipped": 0, **result.coverage}
    parts = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"Coverage: {parts} (each with its reason in {results_csv.COVERAGE})."
