"""`alpha-hill merge`: shards of a scan -> one result."""

from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli import shared_options as shared


def merge(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Output folders of `alpha-hill scan --shard`; one if they share it."),
    ],
    output_dir: shared.OutputDir = None,
    plot_format: shared.PlotFormat = None,
    plots_of: shared.PlotsOf = "main",
    no_plots: shared.NoPlots = False,
    max_layers_per_plot: shared.LayersPerPlot = 20,
    no_report: shared.NoReport = False,
    open_page: shared.OpenPage = False,
    log_level: shared.LogLevel = "info",
) -> None:
    """Join the shards of a scan into one result, equal to that of a single run.

    Results go to the first folder by default. The exit code is that of `alpha-hill scan`.

    Examples:
        alpha-hill scan tiny_llama --shard 1/2 -o sharded
        alpha-hill scan tiny_llama --shard 2/2 -o sharded
        alpha-hill merge sharded
    """
    hide_progress = shared.start_logging(log_level)
    from alpha_callbacks.cli.progress import ScanProgress
    from alpha_callbacks.cli.scan_output import finish, plots
    from alpha_callbacks.cli.show_page import check_open
    from alpha_callbacks.scanning.merge import merge as merge_shards

    check_open(open_page=open_page, no_report=no_report)
    with ScanProgress(hidden=hide_progress) as progress:
        result = merge_shards(
            directories,
            output_dir=output_dir or directories[0],
            plots=plots(plot_format, which=plots_of, none=no_plots, max_layers=max_layers_per_plot),
            report=not no_report,
            observer=progress,
        )
    finish(result, open_page=open_page)
