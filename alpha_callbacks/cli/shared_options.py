"""Every option that more than one command has, once: its names, parser, help and panel are the same in each."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from alpha_callbacks.cli import parsers

COMPUTE, LAYERS, OUTPUT, MACHINE = "What to compute", "Which layers", "Output", "Machine"
FLAG = ""  # metavar of what takes no value

Precisions = Annotated[
    str | None,
    typer.Option(
        "--precisions",
        "--precision",
        "-p",
        parser=parsers.precision_list,
        metavar="LIST",
        help="Comma-separated names, such as fp32,bf16,int4. `alpha-hill precisions` lists all.",
        rich_help_panel=COMPUTE,
    ),
]
KFrac = Annotated[
    float,
    typer.Option(
        "--k-frac",
        parser=parsers.analysis_option("k_frac", parsers.number),
        metavar="SHARE",
        help="Share of the eigenvalues that is the tail, between 0 and 1.",
        rich_help_panel=COMPUTE,
    ),
]
KMin = Annotated[
    int,
    typer.Option(
        "--k-min",
        parser=parsers.whole(at_least=1),
        metavar="N",
        help="Smallest size of a tail.",
        rich_help_panel=COMPUTE,
    ),
]
ThresholdChoice = Annotated[
    Literal["next", "last"],
    typer.Option(
        "--threshold",
        parser=parsers.one_of("next", "last"),
        metavar="next|last",
        help="Divide by eigenvalue k+1 (next) or k (last).",
        rich_help_panel=COMPUTE,
    ),
]
SolverChoice = Annotated[
    Literal["exact", "fast"],
    typer.Option(
        "--solver",
        parser=parsers.one_of("exact", "fast"),
        metavar="exact|fast",
        help="exact: fp64. fast: large layers in fp32, each alpha with a proved error, at most 2e-4 of it; the same "
        "as exact on more than four cores and on CUDA, where that takes less time.",
        rich_help_panel=COMPUTE,
    ),
]
ESTIMATORS = parsers.option_names("estimators")
Estimators = Annotated[
    list[str] | None,
    typer.Option(
        "--estimator",
        parser=ESTIMATORS,
        metavar="NAME",
        help="Fit the tail also by csn, tpl, half, quantile_k or farms; repeat it, or separate names by commas, or say "
        "all. alpha stays Hill's; the others go to tail_estimates.csv and into the report.",
        rich_help_panel=COMPUTE,
        show_default=False,
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measures",
        parser=parsers.option_names("measures"),
        metavar="NAME",
        help="Write spectral_measures.csv: norms, bulk (Marchenko-Pastur fit), entries (kurtosis), spacings (an "
        "interval of alpha), traps (shuffled entries; solves each matrix once more), or all.",
        rich_help_panel=COMPUTE,
        show_default=False,
    ),
]
FilterLayers = Annotated[
    str | None,
    typer.Option(
        "--filter-layers",
        "--include",
        parser=parsers.regex,
        metavar="REGEX",
        help="Only layers whose name matches.",
        rich_help_panel=LAYERS,
    ),
]
ExcludeLayers = Annotated[
    str | None,
    typer.Option(
        "--exclude-layers",
        "--exclude",
        parser=parsers.regex,
        metavar="REGEX",
        help="Leave out layers whose name matches.",
        rich_help_panel=LAYERS,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        "-o",
        parser=parsers.folder,
        metavar="DIR",
        help="Folder for the results.",
        rich_help_panel=OUTPUT,
    ),
]
PlotFormat = Annotated[
    list[str] | None,
    typer.Option(
        "--plot-format",
        parser=parsers.plot_format,
        metavar="png|pdf|svg",
        help="File format of the charts; repeat the option for several. \\[default: png]",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
PlotsOf = Annotated[
    str,
    typer.Option(
        "--plots",
        parser=parsers.one_of("main", "all"),
        metavar="main|all",
        help="all: a chart of every layer, and combined charts of them; main: of more than 40 layers only those that "
        "stand out.",
        rich_help_panel=OUTPUT,
    ),
]
NoPlots = Annotated[bool, typer.Option("--no-plots", metavar=FLAG, help="Draw no chart files.", rich_help_panel=OUTPUT)]
NoReport = Annotated[
    bool, typer.Option("--no-report", metavar=FLAG, help="Do not write report.html.", rich_help_panel=OUTPUT)
]
OpenPage = Annotated[
    bool, typer.Option("--open", metavar=FLAG, help="Open the page in a web browser.", rich_help_panel=OUTPUT)
]
LayersPerPlot = Annotated[
    int,
    typer.Option(
        "--max-layers-per-plot",
        parser=parsers.whole(at_least=1),
        metavar="N",
        help="Number of layers in one combined chart.",
        rich_help_panel=OUTPUT,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        parser=parsers.device,
        metavar="NAME",
        help="cpu, cuda, cuda:N, or auto (cuda if there is one).",
        rich_help_panel=MACHINE,
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(
        "--log-level",
        parser=parsers.one_of("debug", "info", "warning", "error"),
        metavar="LEVEL",
        help="What is logged to stderr: debug, info, warning or error. The last two also hide the progress.",
        rich_help_panel=OUTPUT,
    ),
]
PlanOption = Annotated[
    Path,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="plan.json of `alpha-hill recommend`, or a layer config with patterns.",
    ),
]


def start_logging(level: str) -> bool:
    """Send log records of this package, of a level and above, to stderr. Return True if progress should be hidden."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for name in ("alpha_callbacks", "alpha_integrations"):
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.handlers = [handler]
    return level in ("warning", "error")
