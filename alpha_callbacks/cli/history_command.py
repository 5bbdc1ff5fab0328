"""`alpha-hill history`: a training run -> its page and charts."""

from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say


def history(
    source: Annotated[
        Path, typer.Argument(help="alpha_hill_history.csv of a training run, or its folder.", metavar="HISTORY")
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            "--precisions",
            "--precision",
            "-p",
            parser=parsers.one_precision,
            metavar="NAME",
            help="Precision to show. \\[default: the finest]",
            rich_help_panel=shared.COMPUTE,
            show_default=False,
        ),
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            "--estimator",
            parser=shared.ESTIMATORS,
            metavar="NAME",
            help="Other fits to show beside alpha-Hill, of those that the run has (estimators= of the callbacks); hill "
            "shows none. \\[default: all of them]",
            rich_help_panel=shared.COMPUTE,
            show_default=False,
        ),
    ] = None,
    output_dir: shared.OutputDir = None,
    plot_format: shared.PlotFormat = None,
    no_plots: shared.NoPlots = False,
    open_page: shared.OpenPage = False,
    log_level: shared.LogLevel = "info",
) -> None:
    """Show alpha of every layer over the steps of a training run: history.html and charts.

    Results go to the folder of the history by default.

    Exit code: 0 if every layer has an alpha at every measured step, 1 if some have none, 2 for wrong usage or
    unreadable input.

    Examples:
        python examples/train_hf.py
        alpha-hill history results/train_hf/alpha_hill
        alpha-hill history results/train_hf/alpha_hill --estimator hill -o pages
    """
    shared.start_logging(log_level)
    from alpha_callbacks.cli.print_comparison import print_history
    from alpha_callbacks.cli.show_page import show_page
    from alpha_callbacks.comparison.history_estimators import chosen_estimators
    from alpha_callbacks.comparison.history_findings import failed
    from alpha_callbacks.comparison.read_history import read_history
    from alpha_callbacks.report.history_page import HISTORY_PAGE, history_page
    from alpha_callbacks.utils.atomic_files import make_folder, write_text

    run = read_history(source)
    others = chosen_estimators(run, ",".join(estimator or []).split(",") if estimator else ())
    folder = output_dir or run.path.parent
    make_folder(folder)
    write_text(folder / HISTORY_PAGE, history_page(run, precision=precision, estimators=others))
    if not no_plots:
        from alpha_callbacks.plots.draw_history import draw_history

        draw_history(run, folder / "plots", precision=precision, formats=plot_format or ["png"])
    print_history(run, precision, others)
    say(f"Written to {folder}: {HISTORY_PAGE}{'' if no_plots else ', plots/'}")
    show_page(folder / HISTORY_PAGE, open_page=open_page)
    raise typer.Exit(1 if failed(run) else 0)
