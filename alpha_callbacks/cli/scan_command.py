"""`alpha-hill scan`: a checkpoint -> report, tables and charts."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say

_STORAGE = "Storage"


def scan(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            parser=parsers.model,
            help="A checkpoint or adapter folder, a .safetensors, .gguf, .pt, .bin or .ckpt file, or a model id on "
            "the Hugging Face Hub. \\[default: tiny_llama, which comes with the package]",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            parser=parsers.model,
            metavar="MODEL",
            help="What MODEL was trained from: adds a row of W - W0 to every layer of a checkpoint, and of base + "
            "update to every layer of an adapter. \\[default: what an adapter's config names, if it is on disk]",
            rich_help_panel=shared.COMPUTE,
            show_default=False,
        ),
    ] = None,
    precisions: shared.Precisions = "fp32,fp16,bf16",
    k_frac: shared.KFrac = 0.1,
    k_min: shared.KMin = 10,
    threshold: shared.ThresholdChoice = "next",
    estimator: shared.Estimators = None,
    measures: shared.Measures = None,
    solver: shared.SolverChoice = "exact",
    reuse_tol: Annotated[
        float,
        typer.Option(
            "--reuse-tol",
            parser=parsers.analysis_option("reuse_tol", parsers.number),
            metavar="BOUND",
            help="Share one decomposition between precisions if alpha provably changes by less than this, relatively. "
            "0: never share.",
            rich_help_panel=shared.COMPUTE,
        ),
    ] = 1e-5,
    load_dtype: Annotated[
        str | None,
        typer.Option(
            "--load-dtype",
            parser=parsers.torch_precision,
            metavar="NAME",
            help="Cast weights to this precision first. \\[default: as stored]",
            rich_help_panel=shared.COMPUTE,
            show_default=False,
        ),
    ] = None,
    filter_layers: shared.FilterLayers = None,
    exclude_layers: shared.ExcludeLayers = None,
    include_embeddings: Annotated[
        bool,
        typer.Option(
            "--include-embeddings",
            metavar=shared.FLAG,
            help="Analyse embedding tables too (lm_head always is).",
            rich_help_panel=shared.LAYERS,
        ),
    ] = False,
    output_dir: shared.OutputDir = None,
    plot_format: shared.PlotFormat = None,
    plots_of: shared.PlotsOf = "main",
    no_plots: shared.NoPlots = False,
    max_layers_per_plot: shared.LayersPerPlot = 20,
    no_report: shared.NoReport = False,
    open_page: shared.OpenPage = False,
    log_level: shared.LogLevel = "info",
    save_spectra: Annotated[
        bool | None,
        typer.Option(
            "--save-spectra/--no-save-spectra",
            metavar=shared.FLAG,
            help="Keep the eigenvalues of every precision in spectra/, for the report to draw. \\[default: those that "
            "the results come from, if they take at most 200 MB; a precision that is proved from them has none]",
            rich_help_panel=_STORAGE,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            metavar=shared.FLAG,
            help="Keep the layers that an earlier, interrupted run has finished.",
            rich_help_panel=_STORAGE,
        ),
    ] = True,
    device: shared.Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            parser=parsers.whole(at_least=1),
            metavar="N",
            help="Matrices that are solved at the same time. \\[default: one per CPU thread, memory permitting]",
            rich_help_panel=shared.MACHINE,
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            parser=parsers.whole(at_least=1),
            metavar="N",
            help="CPU threads in total. \\[default: all]",
            rich_help_panel=shared.MACHINE,
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            parser=parsers.shard,
            metavar="I/N",
            help="Scan the I-th of N shares; `alpha-hill merge` joins them.",
            rich_help_panel=shared.MACHINE,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="NAME",
            help="Branch, tag or commit of a model id.",
            rich_help_panel=shared.MACHINE,
        ),
    ] = None,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote",
            metavar=shared.FLAG,
            help="Read MODEL where it lies, by HTTP range requests, without a download: a model id, or the URL of a "
            ".safetensors file, of its index, or of a .gguf file.",
            rich_help_panel=_STORAGE,
        ),
    ] = False,
) -> None:
    """Analyse every weight matrix of a checkpoint and write a report, tables and charts.

    Weights are read one tensor at a time; neither the model nor a GPU is needed. If a scan is interrupted, run the
    same command again and it continues. Results go to results/<name of the model> by default.

    With --base, and of an adapter, there are rows of the update too: W - W0, or what the adapter adds.

    Exit code: 0 if every layer has an alpha or is unchanged from its base, 1 if some have none (their rows say why), 2
    for wrong usage or unreadable input, 3 for an internal error.

    Examples:
        alpha-hill scan
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill scan tiny_llama --filter-layers self_attn --plot-format pdf -o attn
        alpha-hill scan tiny_llama --estimator csn,tpl --measures norms,bulk -o fits
        alpha-hill scan tiny_llama --base tiny_llama -o update
        alpha-hill scan HuggingFaceTB/SmolLM2-135M --remote
        torchrun --nproc-per-node 2 -m alpha_callbacks scan tiny_llama
    """
    hide_progress = shared.start_logging(log_level)
    from alpha_callbacks.analysis.processes import ScanShare
    from alpha_callbacks.cli.progress import ScanProgress
    from alpha_callbacks.cli.scan_output import finish, plots, print_takers, result_name
    from alpha_callbacks.cli.show_page import check_open
    from alpha_callbacks.options import AnalysisOptions, pick_device
    from alpha_callbacks.scanning.scan import scan as scan_checkpoint

    options = AnalysisOptions(
        precisions=parsers.names(precisions),
        k_frac=k_frac,
        k_min=k_min,
        threshold=threshold,
        estimators=tuple(",".join(estimator or ["hill"]).split(",")),
        measures=tuple(",".join(measures or []).split(",")),
        solver=solver,
        reuse_tol=reuse_tol,
        include=filter_layers,
        exclude=exclude_layers,
        include_embeddings=include_embeddings,
        load_dtype=load_dtype,
        device=pick_device(device),
    )
    check_open(open_page=open_page, no_report=no_report)
    folder = output_dir or Path("results") / result_name(model)
    print_takers(options.precisions, model)
    with ScanProgress(hidden=hide_progress) as progress:
        result = scan_checkpoint(
            model,
            output_dir=folder,
            options=options,
            base=base,
            workers=workers,
            threads=threads,
            resume=resume,
            shard=ScanShare.parse(shard) if shard else None,
            revision=revision,
            remote=remote,
            plots=plots(plot_format, which=plots_of, none=no_plots, max_layers=max_layers_per_plot),
            report=not no_report,
            save_spectra=save_spectra,
            observer=progress,
        )
    if shard and result is None:
        say(f"Share {shard} is finished. When all are, run: alpha-hill merge {quote(str(folder))}")
    finish(result, open_page=open_page)
