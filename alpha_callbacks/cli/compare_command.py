"""Commands that look at several states: compare, history."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alpha_callbacks.cli.shared_options import LogLevel, set_log_level

if TYPE_CHECKING:  # --help must not wait for torch
    from alpha_callbacks.comparison.inputs import Scan, Side
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.tables.table import Table

_WHAT, _SCAN, _OUTPUT = "What to compare", "Checkpoints, which are scanned first", "Output"

PlotFormats = Annotated[
    list[str] | None,
    typer.Option(
        "--plot-format",
        help="Format of the charts: png, pdf or svg; give it several times for several. \\[default: png]",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
NoPlots = Annotated[bool, typer.Option("--no-plots", help="Write only tables and the page.", rich_help_panel=_OUTPUT)]


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="Results of a scan (folder or CSV), a checkpoint (folder, file or model id), or a training history "
            "(alpha_hill_history.csv or its folder)."
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(
            help="The same. Left out: two steps of the history, or two precisions of the scan.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            "--precisions",
            "-p",
            help="One for both sides, or two: of A and of B. \\[default: the finest that both have]",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Of a training history: two steps, such as 1000,20000. \\[default: the first and the last]",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    filter_layers: Annotated[
        str | None,
        typer.Option(
            "--filter-layers",
            help="Only layers whose name matches this regex.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    k_frac: Annotated[
        float, typer.Option("--k-frac", help="Share of the eigenvalues taken as the tail.", rich_help_panel=_SCAN)
    ] = 0.1,
    threshold: Annotated[
        Literal["next", "last"],
        typer.Option(help="Divide by eigenvalue k+1 (next) or k (last).", rich_help_panel=_SCAN),
    ] = "next",
    solver: Annotated[
        Literal["exact", "fast"], typer.Option(help="exact: fp64. fast: fp32.", rich_help_panel=_SCAN)
    ] = "exact",
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:<n>, or auto: cuda where there is one.", rich_help_panel=_SCAN)
    ] = "auto",
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Where results go. \\[default: results/<A>--vs--<B>]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    plot_format: PlotFormats = None,
    no_plots: NoPlots = False,
    log_level: LogLevel = "info",
) -> None:
    """Compare alpha layer by layer: base and fine-tuned, original and quantized, two steps of a run.

    Writes comparison.csv (every layer, also those on one side only), comparison_summary.csv, compare.html and charts.
    Alphas of different tails (k_frac, k_min, threshold) are refused.

    Exit code: 0 all layers compared, 1 some could not be (the table says why), 2 wrong usage or unreadable input.

    [bold]Examples[/bold]

    alpha-hill compare results/base results/instruct

    alpha-hill compare ./checkpoint-500 ./checkpoint-5000 -o out

    alpha-hill compare run/alpha_hill --steps 1000,20000

    alpha-hill compare results/model --precision fp32,int4
    """
    set_log_level(log_level)
    from alpha_callbacks.cli.print_comparison import print_comparison
    from alpha_callbacks.comparison.comparison import compare as pair
    from alpha_callbacks.comparison.comparison_csv import COMPARISON, write_comparison
    from alpha_callbacks.comparison.inputs import CACHE, open_sides, source_name
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.options import AnalysisOptions, pick_device
    from alpha_callbacks.precisions.registry import parse_precisions
    from alpha_callbacks.report.compare_page import COMPARE_PAGE, compare_page
    from alpha_callbacks.utils.atomic_files import make_folder, write_text

    names = parse_precisions(precision) if precision else ()
    if len(names) > 2:
        raise OptionError(f"precision: expected one, or one of A and one of B, got {precision!r}.")
    _check_formats(plot_format)
    folder = output_dir or Path("results") / _default_name(a, b, steps)
    options = AnalysisOptions(
        precisions=names or ("fp32",),
        k_frac=k_frac,
        threshold=threshold,
        solver=solver,
        include=filter_layers,
        device=pick_device(device),
    )
    make_folder(folder)
    sides = open_sides(
        a,
        b,
        scan=_scanner(quiet=log_level in ("warning", "error")),
        cache=folder / CACHE,
        options=options,
        steps=_steps(steps),
        precisions=names,
    )
    first, second = (_filtered(side, options) for side in sides)
    chosen = _chosen(names, sides, b)
    comparison = pair(first, second, precisions=chosen, labels=(sides[0].label, sides[1].label))
    write_comparison(comparison, folder)
    write_text(folder / COMPARE_PAGE, compare_page(comparison, model="" if b else source_name(a)))
    if not no_plots:
        from alpha_callbacks.plots.draw_comparison import draw_comparison

        draw_comparison(comparison, folder / "plots", formats=plot_format or ["png"])
    print_comparison(comparison)
    typer.echo(f"Written to {folder}: {COMPARISON}, {COMPARE_PAGE}{'' if no_plots else ', plots/'}")
    raise typer.Exit(1 if comparison.left_out else 0)


def history(
    source: Annotated[
        Path, typer.Argument(help="alpha_hill_history.csv of a training run, or a folder with it.", metavar="HISTORY")
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            "-p",
            help="Whose alpha. \\[default: the finest]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Where results go. \\[default: where the history is]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    plot_format: PlotFormats = None,
    no_plots: NoPlots = False,
    log_level: LogLevel = "info",
) -> None:
    """Show alpha of every layer over the steps of a training run: history.html and charts.

    Exit code: 0 all layers have an alpha at every step that was measured, 1 some have none, 2 unreadable input.
    """
    set_log_level(log_level)
    from alpha_callbacks.cli.print_comparison import print_history
    from alpha_callbacks.comparison.history_findings import failed
    from alpha_callbacks.comparison.read_history import read_history
    from alpha_callbacks.precisions.registry import get_precision
    from alpha_callbacks.report.history_page import HISTORY_PAGE, history_page
    from alpha_callbacks.utils.atomic_files import make_folder, write_text

    _check_formats(plot_format)
    run = read_history(source)
    name = get_precision(precision).name if precision else None
    folder = output_dir or run.path.parent
    make_folder(folder)
    write_text(folder / HISTORY_PAGE, history_page(run, precision=name))
    if not no_plots:
        from alpha_callbacks.plots.draw_history import draw_history

        draw_history(run, folder / "plots", precision=name, formats=plot_format or ["png"])
    print_history(run, name)
    typer.echo(f"Written to {folder}: {HISTORY_PAGE}{'' if no_plots else ', plots/'}")
    raise typer.Exit(1 if failed(run) else 0)


def _scanner(*, quiet: bool) -> "Scan":
    """Return what scans a checkpoint with the usual progress; a scan that is there already is taken up."""

    def run(source: str, folder: Path, options: "AnalysisOptions") -> "Table":
        from alpha_callbacks.cli.console import Console
        from alpha_callbacks.errors import JournalError
        from alpha_callbacks.scanning.scan import scan
        from alpha_callbacks.scanning.write_results import Plots

        def once(*, resume: bool) -> "Table":
            with (console := Console(quiet=quiet)):
                result = scan(
                    source,
                    output_dir=folder,
                    options=options,
                    plots=Plots(()),
                    report=False,
                    save_spectra=False,
                    resume=resume,
                    observer=console,
                )
            if result is None:  # a rank of torchrun that writes nothing
                raise typer.Exit(0)
            return result.table

        try:
            return once(resume=True)
        except JournalError:  # the checkpoint has changed since
            return once(resume=False)

    return run


def _filtered(side: "Side", options: "AnalysisOptions") -> "Table":
    from dataclasses import replace

    from alpha_callbacks.errors import OptionError

    layers = tuple(layer for layer in side.table.layers if options.selects(layer.first.layer_name))
    if not layers:
        raise OptionError(f"{side.label}: expected layers that match {options.include!r}, found none. Loosen it.")
    return replace(side.table, layers=layers)


def _chosen(names: tuple[str, ...], sides: "tuple[Side, Side]", b: str | None) -> str | tuple[str, str] | None:
    """Return what `compare` takes: names asked for, or those that two sides of one scan are called by."""
    if len(names) == 2:
        return names[0], names[1]
    if b is None and sides[0].table is sides[1].table:
        return sides[0].label, sides[1].label
    return names[0] if names else None


def _steps(text: str | None) -> tuple[int, ...]:
    from alpha_callbacks.errors import OptionError

    if text is None:
        return ()
    try:
        steps = tuple(int(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if len(steps) not in (1, 2):
        raise OptionError(f"steps: expected two steps such as 1000,20000, got {text!r}.")
    return steps


def _check_formats(formats: list[str] | None) -> None:
    """Refuse an unknown format before any work is done."""
    if formats:
        from alpha_callbacks.plots.elements.canvas import check_formats

        check_formats(formats)


def _default_name(a: str, b: str | None, steps: str | None) -> str:
    from alpha_callbacks.comparison.inputs import source_name
    from alpha_callbacks.utils.atomic_files import safe_file_name

    first, *rest = (safe_file_name(source_name(source).replace("/", "--")) for source in (a, b) if source)
    which = "-".join(["--steps", *re.findall(r"\d+", steps)]) if steps else ""  # so that another pair has its own
    return (f"{first}--vs--{rest[0]}" if rest else f"{first}--compared") + which
