"""`alpha-hill compare`: two states of the same layers -> what changed."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say

if TYPE_CHECKING:  # --help must not wait for torch
    from alpha_callbacks.checkpoints.checkpoint import Checkpoint
    from alpha_callbacks.comparison.comparison import Comparison
    from alpha_callbacks.comparison.inputs import Side
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.tables.table import Table


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            parser=parsers.model,
            help="Results of a scan (folder or CSV), a checkpoint (folder, file or model id), or a training history "
            "(alpha_hill_history.csv or its folder).",
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="B",
            parser=parsers.model,
            help="The same. If omitted: two steps of the history, or two precisions of the scan.",
            show_default=False,
        ),
    ] = None,
    precisions: shared.Precisions = None,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            parser=parsers.step_list,
            metavar="A,B",
            help="Two steps of a training history, such as 1000,20000. \\[default: the first and the last]",
            rich_help_panel=shared.COMPUTE,
            show_default=False,
        ),
    ] = None,
    k_frac: shared.KFrac = 0.1,
    k_min: shared.KMin = 10,
    estimator: shared.Estimators = None,
    threshold: shared.ThresholdChoice = "next",
    solver: shared.SolverChoice = "exact",
    filter_layers: shared.FilterLayers = None,
    exclude_layers: shared.ExcludeLayers = None,
    output_dir: shared.OutputDir = None,
    plot_format: shared.PlotFormat = None,
    no_plots: shared.NoPlots = False,
    open_page: shared.OpenPage = False,
    log_level: shared.LogLevel = "info",
    device: shared.Device = "auto",
) -> None:
    """Compare alpha layer by layer: base and fine-tuned, original and quantized, two steps of a run.

    Writes comparison.csv (every layer, also those on one side only), comparison_summary.csv, compare.html and charts,
    by default to results/<A>--vs--<B>. Give one precision for both sides, or two: one for A and one for B. The default
    is the finest that both have.

    Between two checkpoints, or results whose checkpoints are still there, the error of the weights themselves is shown
    too: that of a quantized model as it shipped.

    Other estimators (--estimator) are compared beside alpha-Hill where both sides have their fits.

    Checkpoints are scanned first. Finished scans and histories keep the options that they were made with; alphas of
    different tails (k_frac, k_min, threshold) are not compared.

    Exit code: 0 if all layers were compared, 1 if some could not be (the table says why), 2 for wrong usage or
    unreadable input.

    Examples:
        alpha-hill scan tiny_llama -p fp32,int4 -o pair
        alpha-hill compare pair -p fp32,int4
        alpha-hill compare pair tiny_llama --filter-layers mlp -o twice
        alpha-hill compare tiny_llama quantized -o shipped
    """
    hide_progress = shared.start_logging(log_level)
    from alpha_callbacks.cli.print_comparison import print_comparison
    from alpha_callbacks.cli.scan_side import scanner
    from alpha_callbacks.cli.show_page import show_page
    from alpha_callbacks.comparison.comparison import compare as pair
    from alpha_callbacks.comparison.inputs import CACHE, open_sides, source_name
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.report.compare_page import COMPARE_PAGE
    from alpha_callbacks.utils.atomic_files import make_folder

    names = parsers.names(precisions)
    if len(names) > 2:
        raise OptionError(f"precisions: expected one, or one for A and one for B, got {','.join(names)!r}.")
    folder = output_dir or Path("results") / _default_name(a, b, steps)
    options = AnalysisOptions(
        precisions=names or ("fp32",),
        k_frac=k_frac,
        k_min=k_min,
        estimators=tuple(",".join(estimator or ["hill"]).split(",")),
        threshold=threshold,
        solver=solver,
        include=filter_layers,
        exclude=exclude_layers,
        device=device,
    )
    make_folder(folder)
    sides = open_sides(
        a,
        b,
        scan=scanner(hide_progress=hide_progress),
        cache=folder / CACHE,
        options=options,
        steps=[int(step) for step in steps.split(",")] if steps else [],
        precisions=names,
    )
    first, second = (_filtered(side, options) for side in sides)
    labels = (sides[0].label, sides[1].label)
    comparison = pair(first, second, precisions=_chosen(names, sides, b), labels=labels)
    note = ""
    if b is not None:
        opened = _checkpoint(a), _checkpoint(b)
        if opened[0] is None or opened[1] is None:
            note = "The error of the weights needs both checkpoints: name these, not their results."
        else:
            from alpha_callbacks.comparison.weight_error import with_weight_errors

            comparison = with_weight_errors(comparison, opened[0], opened[1])
    written = _write(comparison, folder, model="" if b else source_name(a), formats=_formats(plot_format, no_plots))
    print_comparison(comparison)
    if note:
        say(note)
    say(f"Written to {folder}: {written}")
    show_page(folder / COMPARE_PAGE, open_page=open_page)
    raise typer.Exit(1 if comparison.left_out else 0)


def _checkpoint(source: str) -> "Checkpoint | None":
    """Return the checkpoint that was named, or whose results were and that has not changed since; None: neither."""
    from alpha_callbacks.comparison.inputs import is_checkpoint
    from alpha_callbacks.errors import CheckpointError
    from alpha_callbacks.tables.results_folder import ResultsFolder

    results = None if is_checkpoint(source) else ResultsFolder(source)
    if results and (not results.source or not Path(results.source).exists()):
        return None
    from alpha_callbacks.checkpoints.fingerprint import fingerprint
    from alpha_callbacks.checkpoints.locate import locate
    from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint

    if results is None:
        return open_checkpoint(locate(source))
    try:
        checkpoint = open_checkpoint(results.source)
    except CheckpointError:  # no longer whole: the results stand for themselves
        return None
    return checkpoint if fingerprint(checkpoint) == results.run.get("checkpoint") else None


def _formats(formats: list[str] | None, none: bool) -> list[str]:
    return [] if none else formats or ["png"]


def _write(comparison: "Comparison", folder: Path, *, model: str, formats: list[str]) -> str:
    """Write tables, the page and charts, if there are formats for these; return the names of what was written."""
    from alpha_callbacks.comparison.comparison_csv import COMPARISON, write_comparison
    from alpha_callbacks.report.compare_page import COMPARE_PAGE, compare_page
    from alpha_callbacks.utils.atomic_files import write_text

    write_comparison(comparison, folder)
    write_text(folder / COMPARE_PAGE, compare_page(comparison, model=model))
    if formats:
        from alpha_callbacks.plots.draw_comparison import draw_comparison

        draw_comparison(comparison, folder / "plots", formats=formats)
    return f"{COMPARISON}, {COMPARE_PAGE}{', plots/' if formats else ''}"


def _filtered(side: "Side", options: "AnalysisOptions") -> "Table":
    from dataclasses import replace

    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.utils.labels import some_names

    layers = tuple(
        layer for layer in side.table.layers if options.selects(layer.first.layer_name, layer.first.source_name)
    )
    if not layers:
        wanted = f"that match {options.include!r}" if options.include else "in it"
        rest = f" once {options.exclude!r} is excluded" if options.exclude else ""
        names = some_names([layer.first.layer_name for layer in side.table.layers])
        raise OptionError(f"{side.label}: expected layers {wanted}{rest}, got none. {names}")
    return replace(side.table, layers=layers)


def _chosen(names: tuple[str, ...], sides: "tuple[Side, Side]", b: str | None) -> str | tuple[str, str] | None:
    """Return what `compare` takes: the names asked for, or the labels of two sides of one scan."""
    if len(names) == 2:
        return names[0], names[1]
    if b is None and sides[0].table is sides[1].table:
        return sides[0].label, sides[1].label
    return names[0] if names else None


def _default_name(a: str, b: str | None, steps: str | None) -> str:
    from alpha_callbacks.comparison.inputs import source_name
    from alpha_callbacks.foreign_text import safe_file_name

    first, *rest = (safe_file_name(source_name(source).replace("/", "--")) for source in (a, b) if source)
    which = "-".join(["--steps", *re.findall(r"\d+", steps)]) if steps else ""  # so that another pair has its own
    return (f"{first}--vs--{rest[0]}" if rest else f"{first}--compared") + which
