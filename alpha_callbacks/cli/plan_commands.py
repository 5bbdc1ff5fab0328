"""Commands about quantization: precisions, recommend, export, quantize, evaluate."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alpha_callbacks.cli.shared_options import LogLevel, set_log_level

if TYPE_CHECKING:  # --help must not wait for torch
    from alpha_callbacks.planning.plan import Plan

_POLICY, _RULE, _LAYERS, _OUTPUT, _MODEL = "Policy", "Policies on alpha", "Which layers", "Output", "Sensitivities"

PlanFile = Annotated[Path, typer.Argument(help="plan.json of `alpha-hill recommend`.", metavar="PLAN")]


def precisions() -> None:
    """List the precisions: names, effective bits, what each is held to bit for bit, and where it is defined."""
    from alpha_callbacks.cli.print_plan import print_precisions

    print_precisions()


def recommend(
    results: Annotated[
        Path, typer.Argument(help="precision_alpha_hill_results.csv of a scan, or the folder that it is in.")
    ],
    policy: Annotated[
        Literal["measured", "alphaq", "thresholds"] | None,
        typer.Option(
            help="measured: least error for the bits. alphaq: low alpha gets more bits. thresholds: alpha against two "
            "bounds. \\[default: measured if a low-bit column was scanned, else thresholds]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    avg_bits: Annotated[
        float | None,
        typer.Option(
            "--avg-bits",
            help="Effective bits per weight, scales included, over the layers decided about; met within 0.01. "
            "\\[default: half way between the coarsest and the finest candidate]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="Low-bit formats to choose from, comma-separated. \\[default: all that were scanned]",
            rich_help_panel=_POLICY,
            show_default=False,
        ),
    ] = None,
    sensitivity: Annotated[
        Literal["none", "fisher"],
        typer.Option(
            help="fisher: weight errors by the gradients of one backward pass over --calibration.",
            rich_help_panel=_MODEL,
        ),
    ] = "none",
    calibration: Annotated[
        Path | None, typer.Option(help="Text file for --sensitivity.", rich_help_panel=_MODEL, show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model, for --sensitivity. \\[default: the one that was scanned]",
            rich_help_panel=_MODEL,
            show_default=False,
        ),
    ] = None,
    bounds: Annotated[
        str,
        typer.Option(
            help="Of thresholds: 4 bits below the first, 16 bits above the second, 8 bits between.",
            rich_help_panel=_RULE,
        ),
    ] = "2.5,3.0",
    variation: Annotated[
        float,
        typer.Option(
            help="Of thresholds: 16 bits where alpha varies by this (standard deviation over the 16-bit and wider "
            "precisions).",
            rich_help_panel=_RULE,
        ),
    ] = 0.01,
    gamma: Annotated[
        float, typer.Option(help="Of alphaq: how much alpha counts; 0: not at all.", rich_help_panel=_RULE)
    ] = 1.0,
    protect: Annotated[
        Literal["high-alpha", "low-alpha"] | None,
        typer.Option(
            help="Which end of alpha is sensitive. The published rules contradict each other. "
            "\\[default: high-alpha for thresholds, low-alpha for alphaq]",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Layers whose name matches this regex stay at 16 bits, outside the budget.",
            rich_help_panel=_LAYERS,
            show_default=False,
        ),
    ] = None,
    quantize_head: Annotated[
        bool,
        typer.Option(
            "--quantize-head", help="Decide about lm_head too, where it is not tied.", rich_help_panel=_LAYERS
        ),
    ] = False,
    untied: Annotated[
        bool,
        typer.Option(
            "--untied",
            help="Let q/k/v, gate/up and experts differ. vLLM cannot load such a mix.",
            rich_help_panel=_LAYERS,
        ),
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="For plan.json and recommendations.csv. \\[default: where the results are]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    export_config: Annotated[
        Path | None,
        typer.Option(
            "--export-config",
            help="Write the plan in the words of --format to this file too.",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of --export-config: plan, layer-config, compressed-tensors, torchao, gguf, llm-compressor, "
            "bitsandbytes. \\[default: plan]",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    every_layer: Annotated[
        bool, typer.Option("--all", help="Print every layer with its reason.", rich_help_panel=_OUTPUT)
    ] = False,
    log_level: LogLevel = "info",
) -> None:
    """Choose a format for every layer of a scan, and say why.

    Layers without alpha stay at 16 bits and are listed; so do embeddings, routers and lm_head, outside the budget.
    What the policies are worth was measured: docs/quantization.md.

    [bold]Examples[/bold]

    alpha-hill scan MODEL -p bf16,fp8,int4 -o out && alpha-hill recommend out --avg-bits 5

    alpha-hill recommend out --avg-bits 5 --sensitivity fisher --calibration corpus.txt

    alpha-hill recommend out --avg-bits 5 --export-config quantization_config.json --format compressed-tensors
    """
    set_log_level(log_level)
    from alpha_callbacks.cli.print_plan import print_recommendation
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.planning.recommend import recommend as make
    from alpha_callbacks.planning.recommend_options import RecommendOptions
    from alpha_callbacks.planning.recommendation_files import PLAN, RECOMMENDATIONS, write_recommendation
    from alpha_callbacks.precisions.registry import parse_precisions
    from alpha_callbacks.tables.read_results import read_results

    if calibration is not None and sensitivity == "none":
        raise OptionError("calibration: it is read for --sensitivity fisher only. Give that too, or leave it out.")
    if target is not None and export_config is None:
        raise OptionError("export_config: expected a file for --format. Give --export-config FILE, or leave both out.")
    table = read_results(results)
    folder = results if results.is_dir() else results.parent
    options = RecommendOptions(
        policy="fisher" if sensitivity == "fisher" and policy in (None, "measured") else policy,
        avg_bits=avg_bits,
        candidates=parse_precisions(candidates) if candidates else None,
        bounds=_bounds(bounds),
        variation=variation,
        gamma=gamma,
        protect=protect,
        untied=untied,
        keep=keep,
        quantize_head=quantize_head,
    )
    source = model or _scanned(folder)
    fisher = None
    if sensitivity == "fisher":
        make(table, replace(options, policy="measured"))  # whether there is such a plan at all, before minutes of work
        fisher = _fisher(source, calibration)
    found = make(table, options, fisher=fisher, model=source)
    exported = _export(found.plan, target or "plan", export_config) if export_config else ""
    write_recommendation(found, output_dir or folder)
    print_recommendation(found, every_layer=every_layer)
    typer.echo(f"Written to {output_dir or folder}: {PLAN}, {RECOMMENDATIONS} (a reason for every layer){exported}")
    if (folder / "run.json").exists() and output_dir in (None, folder):
        typer.echo(f"To see it beside the spectra: alpha-hill report {folder}")


def export(
    plan: PlanFile,
    target: Annotated[
        str,
        typer.Option(
            "--format", help="plan, layer-config, compressed-tensors, torchao, gguf, llm-compressor, bitsandbytes."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    log_level: LogLevel = "info",
) -> None:
    """Write a plan in the words of a quantizer. What the quantizer cannot hold is refused, never rounded."""
    set_log_level(log_level)
    from alpha_callbacks.planning.plan_json import read_plan

    _export(read_plan(plan), target, output)
    typer.echo(f"Written to {output}")


def _export(plan: "Plan", target: str, file: Path) -> str:
    """Write an export, print its notes, and return words for what was written."""
    from alpha_callbacks.planning.export_plan import export_plan
    from alpha_callbacks.utils.atomic_files import write_text

    export = export_plan(plan, target)
    write_text(file, export.text)
    _print_notes(export.notes)
    return f"; {target} in {file}"


def _bounds(text: str) -> tuple[float, float]:
    from alpha_callbacks.errors import OptionError

    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise OptionError(f"bounds: expected two numbers such as 2.5,3.0, got {text!r}.") from None
    return low, high


def _scanned(folder: Path) -> str:
    """Return what a scan says that it scanned, or ""."""
    from alpha_callbacks.tables.results_folder import ResultsFolder

    return ResultsFolder(folder).source


def quantize(
    model: Annotated[
        str, typer.Argument(help="Checkpoint folder or model id; for --format gguf a .gguf file. Never changed.")
    ],
    plan: Annotated[
        Path,
        typer.Option(help="plan.json, or a layer config with patterns, which is expanded against the model's layers."),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="New folder for the checkpoint.", show_default=False),
    ] = None,
    target: Annotated[str, typer.Option("--format", help="compressed-tensors, torchao, gguf.")] = "compressed-tensors",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    save_plan: Annotated[
        Path | None,
        typer.Option("--save-plan", help="Write the plan with exact layer names here.", show_default=False),
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Write a quantized checkpoint as a plan says, by rounding to nearest.

    compressed-tensors and torchao checkpoints load with plain AutoModelForCausalLM.from_pretrained.

    [bold]Examples[/bold]

    alpha-hill quantize MODEL --plan plan.json --output-dir quantized

    alpha-hill quantize MODEL --plan layer_config.json --dry-run --save-plan plan.json
    """
    set_log_level(log_level)
    from alpha_callbacks.checkpoints.locate import locate
    from alpha_callbacks.cli.print_plan import print_plan
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.planning.plan_checks import check_plan
    from alpha_callbacks.planning.plan_json import write_plan
    from alpha_callbacks.planning.write_model import write_model

    if output_dir is None and not dry_run:
        raise OptionError("output_dir: expected a folder for the checkpoint. Give --output-dir, or --dry-run.")
    path = locate(model)
    wanted = _plan_for(path, plan)
    check_plan(wanted, path)
    print_plan(wanted)
    if save_plan is not None:
        write_plan(wanted, save_plan)
        typer.echo(f"Plan written to {save_plan}")
    if dry_run or output_dir is None:
        _foresee(wanted, target)
        return
    _print_notes(write_model(path, wanted, output_dir, target))
    typer.echo(f"Checkpoint written to {output_dir}")


def _foresee(plan: "Plan", target: str) -> None:
    """Print what the words of a target say of a plan: notes, or that it cannot hold it."""
    from alpha_callbacks.errors import PlanError
    from alpha_callbacks.planning.export_plan import export_plan

    try:
        notes = export_plan(plan, target).notes
    except PlanError as error:
        notes = (f"it would be refused: {error}",)
    _print_notes(notes)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        typer.secho(f"note: {note}", fg=typer.colors.YELLOW, err=True)


def evaluate(
    model: Annotated[str, typer.Argument(help="A causal language model: folder, model id or .gguf file.")],
    plan: Annotated[Path, typer.Option(help="plan.json, or a layer config with patterns.")],
    text: Annotated[Path, typer.Option(help="Text file to predict; one that the plan was not made with.")],
    random: Annotated[int, typer.Option(min=0, help="Random plans at the same bits, to be beaten.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the random plans.")] = 0,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of the text that are predicted.")] = 512,
    context: Annotated[int, typer.Option(min=2, help="Tokens in one window.")] = 512,
    dtype: Annotated[
        str | None,
        typer.Option(help="Arithmetic of the model. \\[default: fp32 if it fits, else as stored]", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:<n>, or auto: cuda where there is one.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV for the scores.", show_default=False)
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Measure what a plan does to a model: KL divergence from the unquantized one, and perplexity.

    Beside it: each format of the plan alone, and random plans at the same effective bits. Weights are rounded in
    memory; activations are not quantized.
    """
    set_log_level(log_level)
    from alpha_callbacks.checkpoints.locate import locate
    from alpha_callbacks.cli.console import Steps
    from alpha_callbacks.cli.print_plan import print_scores, scores_text
    from alpha_callbacks.evaluation.evaluate import evaluate as score
    from alpha_callbacks.evaluation.language_model import load_language_model
    from alpha_callbacks.options import pick_device

    wanted = _plan_for(locate(model), plan)
    language_model = load_language_model(model, device=pick_device(device), dtype=dtype)
    windows = language_model.windows(text, tokens=tokens, context=context)
    with Steps("Evaluating", quiet=log_level in ("warning", "error")) as steps:
        scores = score(language_model.model, wanted, windows, random=random, seed=seed, on_progress=steps)
    print_scores(scores, tokens=windows.numel())
    if output is not None:
        from alpha_callbacks.utils.atomic_files import write_text

        write_text(output, scores_text(scores))
        typer.echo(f"Written to {output}")


def _plan_for(model: Path, file: Path) -> "Plan":
    """Read a plan, or a layer config that is expanded against the layers of the model."""
    import json

    from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
    from alpha_callbacks.errors import PlanError
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.planning.layer_config import expand, layers_of
    from alpha_callbacks.planning.plan_json import read_plan

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise PlanError(f"{file}: expected a plan or a layer config as JSON, got {error}.") from error
    if isinstance(content, dict) and "format" not in content and {"default", "overrides"} & content.keys():
        return expand(content, layers_of(open_checkpoint(model).inventory(AnalysisOptions()).weights))
    return read_plan(file)


def _fisher(model: str, calibration: Path | None) -> dict[str, float]:
    """Return the sensitivity of each layer, from one pass over a text."""
    from alpha_callbacks.cli.console import Steps
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.evaluation.language_model import load_language_model
    from alpha_callbacks.evaluation.sensitivity import LENGTH, WINDOWS, fisher_trace

    if calibration is None:
        raise OptionError("calibration: expected a text file for --sensitivity fisher. Give --calibration FILE.")
    if not model:
        raise OptionError("model: expected the model that was scanned, there is no run.json that says. Give --model.")
    loaded = load_language_model(model)
    windows = loaded.windows(calibration, tokens=WINDOWS * LENGTH, context=LENGTH)
    with Steps("Sensitivities") as steps:
        return fisher_trace(loaded.model, windows, on_progress=steps)
