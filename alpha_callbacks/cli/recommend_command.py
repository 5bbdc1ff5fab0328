"""`alpha-hill recommend`: results of a scan -> a format for every layer."""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say

_POLICY, _SENSITIVITY, _RULES = "Policy", "Sensitivities", "Policies based on alpha"


def recommend(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="precision_alpha_hill_results.csv of a scan, or the folder that holds it."
        ),
    ],
    policy: Annotated[
        Literal["measured", "alphaq", "thresholds"] | None,
        typer.Option(
            "--policy",
            parser=parsers.one_of("measured", "alphaq", "thresholds"),
            metavar="NAME",
            help="measured: least error at these bits. alphaq: layers with a low alpha get more bits. thresholds: "
            "alpha against two bounds, no budget. \\[default: measured]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    avg_bits: Annotated[
        str | None,
        typer.Option(
            "--avg-bits",
            parser=parsers.number_list,
            metavar="BITS[,BITS...]",
            help="Target average bits per weight (scales included) over the quantizable layers; met to ±0.01. Several, "
            "such as 4,4.5,6, give a plan each: plan_4.json, ... Without it the curve over all budgets is printed. "
            "\\[default: half way between the coarsest and the finest candidate]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            "--candidates",
            parser=parsers.precision_list,
            metavar="LIST",
            help="Low-bit formats to choose from, comma-separated. \\[default: all that were scanned and that --format "
            "can store]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    sensitivity: Annotated[
        Literal["none", "fisher"],
        typer.Option(
            "--sensitivity",
            parser=parsers.one_of("none", "fisher"),
            metavar="none|fisher",
            help="fisher: weight each error by the gradients of one backward pass over --calibration.",
            rich_help_panel=_SENSITIVITY,
        ),
    ] = "none",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="Text for --sensitivity fisher.",
            rich_help_panel=_SENSITIVITY,
        ),
    ] = None,
    sensitivities: Annotated[
        Path | None,
        typer.Option(
            "--sensitivities",
            metavar="FILE",
            help="Weight each error by what training left: sensitivities.csv of a callback with sensitivities=True, or "
            "its folder. Needs no text.",
            rich_help_panel=_SENSITIVITY,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            parser=parsers.model,
            metavar="MODEL",
            help="The model, for --sensitivity fisher. \\[default: the one that was scanned]",
            rich_help_panel=_SENSITIVITY,
            show_default=False,
        ),
    ] = None,
    bounds: Annotated[
        str,
        typer.Option(
            "--bounds",
            parser=parsers.numbers,
            metavar="LOW,HIGH",
            help="For thresholds: 4 bits for an alpha below LOW, 16 bits above HIGH, 8 bits between.",
            rich_help_panel=_RULES,
        ),
    ] = "2.5,3.0",
    variation: Annotated[
        float,
        typer.Option(
            "--variation",
            parser=parsers.number,
            metavar="ALPHA",
            help="For thresholds: 16 bits if alpha varies by this much between the 16-bit and wider precisions "
            "(standard deviation).",
            rich_help_panel=_RULES,
        ),
    ] = 0.01,
    gamma: Annotated[
        float,
        typer.Option(
            "--gamma",
            parser=parsers.number,
            metavar="POWER",
            help="For alphaq: how much alpha counts; 0: not at all.",
            rich_help_panel=_RULES,
        ),
    ] = 1.0,
    protect: Annotated[
        Literal["high-alpha", "low-alpha"] | None,
        typer.Option(
            "--protect",
            parser=parsers.one_of("high-alpha", "low-alpha"),
            metavar="END",
            help="Which layers are sensitive: high-alpha or low-alpha. The published rules contradict each other. "
            "\\[default: high-alpha for thresholds, low-alpha for alphaq]",
            rich_help_panel=_RULES,
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            parser=parsers.regex,
            metavar="REGEX",
            help="Layers whose name matches stay at 16 bits and outside the target.",
            rich_help_panel=shared.LAYERS,
        ),
    ] = None,
    quantize_head: Annotated[
        bool,
        typer.Option(
            "--quantize-head",
            metavar=shared.FLAG,
            help="Quantize lm_head too, unless it is tied to the embedding.",
            rich_help_panel=shared.LAYERS,
        ),
    ] = False,
    untied: Annotated[
        bool,
        typer.Option(
            "--untied",
            metavar=shared.FLAG,
            help="Allow different formats within q/k/v, gate/up and experts. vLLM cannot load such a model.",
            rich_help_panel=shared.LAYERS,
        ),
    ] = False,
    output_dir: shared.OutputDir = None,
    export_config: Annotated[
        Path | None,
        typer.Option(
            "--export-config",
            parser=parsers.output_file,
            metavar="FILE",
            help="Also export the plan to this file, in the format of --format.",
            rich_help_panel=shared.OUTPUT,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--format",
            parser=parsers.export_format,
            metavar="NAME",
            help=f"{parsers.EXPORT_FORMATS} \\[default: plan]",
            rich_help_panel=shared.OUTPUT,
            show_default=False,
        ),
    ] = None,
    every_layer: Annotated[
        bool,
        typer.Option(
            "--all",
            metavar=shared.FLAG,
            help="Print every layer and the reason for its format.",
            rich_help_panel=shared.OUTPUT,
        ),
    ] = False,
    log_level: shared.LogLevel = "info",
) -> None:
    """Recommend a format for every layer of a scan, and say why.

    Writes plan.json and recommendations.csv, by default to the folder of the results, and the curve of all budgets as
    plan_curve.csv and plan_curve.png. Layers without alpha stay at 16 bits and are listed; embeddings, routers and
    lm_head stay too and do not count in the average. How good the policies are was measured: docs/quantization.md.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo
        alpha-hill recommend demo --avg-bits 5,6
        alpha-hill recommend demo --export-config torchao.json --format torchao
    """
    hide_progress = shared.start_logging(log_level)
    from alpha_callbacks.cli.plan_files import candidates_for, write_export
    from alpha_callbacks.cli.print_curve import print_budgets, print_curve
    from alpha_callbacks.cli.print_plan import print_recommendation
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.planning.plan_curve import better_below, plan_curve
    from alpha_callbacks.planning.plan_curve_files import CURVE, PICTURE, write_curve
    from alpha_callbacks.planning.recommend import recommend as make
    from alpha_callbacks.planning.recommend_options import RecommendOptions
    from alpha_callbacks.planning.recommendation_files import PLAN, RECOMMENDATIONS, write_recommendation
    from alpha_callbacks.planning.sensitivities_file import read_sensitivities
    from alpha_callbacks.planning.takers import say_plan
    from alpha_callbacks.plots.plan_curve import draw_curve
    from alpha_callbacks.tables.read_results import read_results

    if calibration is not None and sensitivity == "none":
        raise OptionError(
            "calibration: expected --sensitivity fisher with it, got none. Give that too, or omit --calibration."
        )
    if sensitivities is not None and sensitivity == "fisher":
        raise OptionError(
            "sensitivities: expected a file or --sensitivity fisher, got both. A file needs neither text nor model."
        )
    if target is not None and export_config is None:
        raise OptionError("export_config: expected a file for --format, got none. Give a file, or omit --format.")
    budgets: list[float | None] = [float(part) for part in parsers.names(avg_bits)] or [None]
    if len(budgets) > 1 and export_config is not None:
        raise OptionError("export_config: expected one budget with it, got several. Give one to --avg-bits.")
    low, high = map(float, bounds.split(","))
    weighted = sensitivity == "fisher" or sensitivities is not None
    options = RecommendOptions(
        policy="fisher" if weighted and policy in (None, "measured") else policy,
        avg_bits=budgets[0],
        candidates=parsers.names(candidates) or None,
        bounds=(low, high),
        variation=variation,
        gamma=gamma,
        protect=protect,
        untied=untied,
        keep=keep,
        quantize_head=quantize_head,
    )
    table = read_results(results)
    if target is not None and options.candidates is None:
        options = replace(options, candidates=candidates_for(target, table))
    folder = results if results.is_dir() else results.parent
    source = model or _scanned(folder)
    fisher = None
    if sensitivities is not None:
        fisher = read_sensitivities(sensitivities, [layer.first.layer_name for layer in table.layers])
    if sensitivity == "fisher":
        for bits in budgets:  # whether there are such plans at all, before minutes of work
            make(table, replace(options, policy="measured", avg_bits=bits))
        from alpha_callbacks.cli.fisher_sensitivities import fisher_of

        fisher = fisher_of(source, calibration, hide_progress=hide_progress)
    found = {
        "plan" if len(budgets) == 1 else f"plan_{bits:g}": make(
            table, replace(options, avg_bits=bits), fisher=fisher, model=source
        )
        for bits in budgets
    }
    first = next(iter(found.values()))
    exported = ""
    if export_config is not None:
        write_export(first.plan, target or "plan", export_config)
        exported = f"; {target or 'plan'} in {export_config}"
    where = output_dir or folder
    for name, each in found.items():
        write_recommendation(each, where, name=name.removeprefix("plan").removeprefix("_"))
    points = plan_curve(table, options, fisher=fisher, model=source)
    write_curve(points, where)
    draw_curve(where)
    if len(found) == 1:
        print_recommendation(first, every_layer=every_layer)
    else:
        print_budgets(found)
    if len(budgets) > 1 or (budgets == [None] and first.plan.policy != "thresholds"):
        print_curve(points)
    for name, each in found.items():
        sentence, taken = say_plan(each.plan)
        of = "" if len(found) == 1 else f"{name}: "
        say(f"• {of}{sentence}", color=None if taken else typer.colors.YELLOW)
        bits, error = each.plan.average_bits(), each.alternatives[0].error
        if below := better_below(points, each.plan.policy, bits, error):
            say(
                f"• {of}{below.average_bits:.3f} bits have a smaller predicted error ({below.error:.4f}) than these "
                f"{bits:.3f} ({error:.4f}): a budget is spent whole. Give --avg-bits {below.average_bits:.3f}.",
                color=typer.colors.YELLOW,
            )
    files = (
        f"{PLAN}, {RECOMMENDATIONS} (a reason for every layer)"
        if len(found) == 1
        else (f"{', '.join(f'{name}.json' for name in found)} and a CSV file with reasons for each")
    )
    say(f"Written to {where}: {files}, {CURVE}, {PICTURE}.png{exported}")
    if (folder / "run.json").exists() and output_dir in (None, folder):
        say(f"To see it beside the spectra: alpha-hill report {quote(str(folder))}")
    if budgets == [None] and first.plan.policy != "thresholds":
        say(f"To plan for other sizes: alpha-hill recommend {quote(str(folder))} --avg-bits BITS[,BITS...]")


def _scanned(folder: Path) -> str:
    """Return the source that a scan names, or ""."""
    from alpha_callbacks.tables.results_folder import ResultsFolder

    return ResultsFolder(folder).source
