"""The command alpha-hill: parses, calls one public function, prints what came out."""

import logging
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alpha_callbacks._version import __version__
from alpha_callbacks.cli import compare_command, plan_commands, report_command
from alpha_callbacks.cli.shared_options import LogLevel, set_log_level
from alpha_callbacks.errors import AlphaCallbacksError, OptionError, PlanError
from alpha_callbacks.utils.model_names import model_name

if TYPE_CHECKING:  # --help must not wait for torch
    from alpha_callbacks.cli.console import Console
    from alpha_callbacks.scanning.write_results import Plots, ScanResult

app = typer.Typer(
    name="alpha-hill",
    help="Heavy-tail exponent alpha-Hill of every weight matrix of a network, at several numeric precisions.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_ELSEWHERE = {"include": "filter_layers", "exclude": "exclude_layers"}  # name in Python -> parameter of `scan`
_NUMBERS, _LAYERS, _OUTPUT, _MACHINE = "What to compute", "Which layers", "Output", "Machine"


class _Format(StrEnum):
    """A file format of charts (an enum, since typer takes no list of literals)."""

    PNG = "png"
    PDF = "pdf"
    SVG = "svg"


PlotFormat = Annotated[
    list[_Format] | None,
    typer.Option(
        "--plot-format", help="Format of the charts; give it several times for several.", rich_help_panel=_OUTPUT
    ),
]
NoPlots = Annotated[bool, typer.Option("--no-plots", help="Write only the tables.", rich_help_panel=_OUTPUT)]
NoReport = Annotated[bool, typer.Option("--no-report", help="Leave report.html out.", rich_help_panel=_OUTPUT)]
PerPlot = Annotated[
    int, typer.Option("--max-layers-per-plot", min=1, help="Layers in one combined chart.", rich_help_panel=_OUTPUT)
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alpha-hill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def scan(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A checkpoint folder, a .safetensors, .gguf, .pt, .bin or .ckpt file, or a model id on the hub. "
            "Left out: the embedded tiny Llama.",
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Where results go. \\[default: results/<name of the model>]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    precisions: Annotated[
        str,
        typer.Option(
            "--precisions", "-p", help="Comma-separated, in the order of the columns.", rich_help_panel=_NUMBERS
        ),
    ] = "fp32,fp16,bf16",
    k_frac: Annotated[
        float, typer.Option("--k-frac", help="Share of the eigenvalues taken as the tail.", rich_help_panel=_NUMBERS)
    ] = 0.1,
    k_min: Annotated[int, typer.Option("--k-min", help="Smallest tail.", rich_help_panel=_NUMBERS)] = 10,
    threshold: Annotated[
        Literal["next", "last"],
        typer.Option(help="Divide by eigenvalue k+1 (next) or k (last).", rich_help_panel=_NUMBERS),
    ] = "next",
    solver: Annotated[
        Literal["exact", "fast"],
        typer.Option(
            help="exact: fp64. fast: fp32, alpha good to 2e-5, about twice as quick.", rich_help_panel=_NUMBERS
        ),
    ] = "exact",
    reuse_tol: Annotated[
        float,
        typer.Option(
            "--reuse-tol",
            help="Share a decomposition where the relative change of alpha is proved to be below this; 0: never.",
            rich_help_panel=_NUMBERS,
        ),
    ] = 1e-5,
    load_dtype: Annotated[
        str | None,
        typer.Option(
            "--load-dtype",
            help="Cast weights to this precision first. \\[default: as stored]",
            rich_help_panel=_NUMBERS,
            show_default=False,
        ),
    ] = None,
    filter_layers: Annotated[
        str | None,
        typer.Option("--filter-layers", help="Only layers whose name matches this regex.", rich_help_panel=_LAYERS),
    ] = None,
    exclude_layers: Annotated[
        str | None,
        typer.Option("--exclude-layers", help="Not the layers whose name matches this regex.", rich_help_panel=_LAYERS),
    ] = None,
    include_embeddings: Annotated[
        bool,
        typer.Option("--include-embeddings", help="Embedding tables too (lm_head always is).", rich_help_panel=_LAYERS),
    ] = False,
    plot_format: PlotFormat = None,
    no_plots: NoPlots = False,
    max_layers_per_plot: PerPlot = 20,
    no_report: NoReport = False,
    save_spectra: Annotated[
        bool | None,
        typer.Option(
            "--save-spectra/--no-save-spectra",
            help="Keep the eigenvalues (spectra/), which the report draws. \\[default: as far as they take at most "
            "200 MB]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Keep the layers that an earlier, interrupted run has finished.",
            rich_help_panel=_MACHINE,
        ),
    ] = True,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:<n>, or auto: cuda where there is one.", rich_help_panel=_MACHINE)
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Matrices solved side by side. \\[default: one per thread, as memory allows]",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads in all. \\[default: all]", rich_help_panel=_MACHINE, show_default=False),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="i/n: do the i-th of n shares, to be joined by `alpha-hill merge`.",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a model id.", rich_help_panel=_MACHINE, show_default=False),
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Analyse every weight matrix of a checkpoint and write a report, tables and charts.

    Reads tensor by tensor; neither the model nor a GPU is needed. Run the same command again after an interruption and
    it goes on where it was.

    Exit code: 0 all layers fine, 1 some layers have no alpha (their rows say why), 2 wrong usage or unreadable input,
    3 a fault of this program.

    [bold]Examples[/bold]

    alpha-hill scan

    alpha-hill scan meta-llama/Llama-3.1-8B -p fp32,fp16,bf16 -o results/llama31_8b

    alpha-hill scan ./checkpoint-5000 --filter-layers 'self_attn' --plot-format pdf

    torchrun --nproc-per-node 4 -m alpha_callbacks scan ./checkpoint-5000
    """
    set_log_level(log_level)
    from alpha_callbacks.analysis.processes import ScanShare
    from alpha_callbacks.cli.console import Console
    from alpha_callbacks.options import AnalysisOptions, pick_device
    from alpha_callbacks.precisions.registry import parse_precisions
    from alpha_callbacks.scanning.scan import scan as scan_checkpoint

    console = Console(quiet=log_level in ("warning", "error"))
    with console:
        result = scan_checkpoint(
            model,
            output_dir=output_dir or Path("results") / _result_name(model),
            options=AnalysisOptions(
                precisions=parse_precisions(precisions),
                k_frac=k_frac,
                k_min=k_min,
                threshold=threshold,
                solver=solver,
                reuse_tol=reuse_tol,
                include=filter_layers,
                exclude=exclude_layers,
                include_embeddings=include_embeddings,
                load_dtype=load_dtype,
                device=pick_device(device),
            ),
            workers=workers,
            threads=threads,
            resume=resume,
            shard=ScanShare.parse(shard) if shard else None,
            revision=revision,
            plots=_plots(plot_format, no_plots, max_layers_per_plot),
            report=not no_report,
            save_spectra=save_spectra,
            observer=console,
        )
    if shard and result is None:
        typer.echo(
            f"Share {shard} is done. When all are: alpha-hill merge {output_dir or 'results/' + _result_name(model)}"
        )
    _finish(console, result)


@app.command()
def merge(
    directories: Annotated[
        list[Path], typer.Argument(help="Output folders of `scan --shard` (one, if they shared it).")
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Where results go. \\[default: the first folder]", show_default=False),
    ] = None,
    plot_format: PlotFormat = None,
    no_plots: NoPlots = False,
    max_layers_per_plot: PerPlot = 20,
    no_report: NoReport = False,
    log_level: LogLevel = "info",
) -> None:
    """Join the shards of a scan into one result, equal to that of a single run."""
    set_log_level(log_level)
    from alpha_callbacks.cli.console import Console
    from alpha_callbacks.scanning.scan import merge as merge_shards

    console = Console(quiet=log_level in ("warning", "error"))
    with console:
        result = merge_shards(
            directories,
            output_dir=output_dir or directories[0],
            plots=_plots(plot_format, no_plots, max_layers_per_plot),
            report=not no_report,
            observer=console,
        )
    _finish(console, result)


app.command()(report_command.report)
app.command()(compare_command.compare)
app.command()(compare_command.history)
for command in (
    plan_commands.precisions,
    plan_commands.recommend,
    plan_commands.export,
    plan_commands.quantize,
    plan_commands.evaluate,
):
    app.command(rich_help_panel="Quantization")(command)


def main() -> None:
    """Run the command. Errors that a user can mend end with code 2 and one clear line, faults of ours with 3."""
    try:
        app()
    except (AlphaCallbacksError, OSError) as error:
        logging.getLogger(__name__).debug("details", exc_info=True)
        typer.secho(f"alpha-hill: {_as_typed(error)}", fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
    except Exception:
        traceback.print_exc()
        typer.secho("alpha-hill: this is a fault of alpha_callbacks; please report it.", fg=typer.colors.RED, err=True)
        raise SystemExit(3) from None


def _as_typed(error: Exception) -> str:
    """Return the message of an error with the option as it is typed here: "include: ..." is --filter-layers."""
    if not isinstance(error, OptionError | PlanError):  # others begin with what they are about: a path, a model
        return str(error)
    commands = typer.main.get_group(app).commands.values()
    flags = {option.name: max(option.opts, key=len) for command in commands for option in command.params}
    name, colon, rest = str(error).partition(": ")
    flag = flags.get(_ELSEWHERE.get(name, name), "")
    return f"{flag}{colon}{rest}" if flag.startswith("--") and flag != f"--{name}" else str(error)


def _finish(console: "Console", result: "ScanResult | None") -> None:
    """Print the result and leave with its exit code."""
    if result is not None:
        console.report(result)
        raise typer.Exit(1 if result.failed else 0)


def _plots(formats: list[_Format] | None, none: bool, max_layers: int) -> "Plots":
    from alpha_callbacks.scanning.write_results import Plots

    return Plots(() if none else tuple(dict.fromkeys(str(f) for f in formats or [_Format.PNG])), max_layers)


def _result_name(model: str | None) -> str:
    """Return the folder name for results of a model."""
    path = Path(model or "tiny_llama")
    return (model_name(path) if path.exists() else str(path)).replace("/", "--")
