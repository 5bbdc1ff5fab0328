"""`alpha-hill evaluate`: a model and a plan -> what the plan does to the model."""

from os.path import abspath
from pathlib import Path
from typing import Annotated

import typer

from alpha_callbacks.cli import parsers
from alpha_callbacks.cli import shared_options as shared
from alpha_callbacks.cli.terminal import say

_TEXT, _PLANS = "Text", "Random plans"


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            parser=parsers.model,
            help="A causal language model: a checkpoint folder, a model id or a .gguf file.",
        ),
    ],
    text: Annotated[
        Path,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Text to predict; not the one that the plan was made with.",
            rich_help_panel=_TEXT,
        ),
    ],
    plan: Annotated[
        list[Path] | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="plan.json of `alpha-hill recommend`, or a layer config with patterns. Repeat it to compare plans.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            parser=parsers.model,
            metavar="CHECKPOINT",
            help="A checkpoint that was made from the model, by `alpha-hill quantize` or otherwise: a folder, a model "
            "id or a .gguf file. Repeat it to compare several.",
        ),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens",
            parser=parsers.whole(at_least=3),
            metavar="N",
            help="Number of tokens of the text that are predicted.",
            rich_help_panel=_TEXT,
        ),
    ] = 512,
    context: Annotated[
        int,
        typer.Option(
            "--context",
            parser=parsers.whole(at_least=2),
            metavar="N",
            help="Number of tokens per window.",
            rich_help_panel=_TEXT,
        ),
    ] = 512,
    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            parser=parsers.whole(at_least=0),
            metavar="N",
            help="Number of random plans of equal size to compare each plan against. \\[default: 8 for one plan, 0 for "
            "several]",
            rich_help_panel=_PLANS,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            parser=parsers.whole(at_least=0),
            metavar="N",
            help="Seed of the random plans.",
            rich_help_panel=_PLANS,
        ),
    ] = 0,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            parser=parsers.torch_precision,
            metavar="NAME",
            help="Precision in which the model computes. \\[default: fp32 if it fits in memory, else as stored]",
            rich_help_panel=shared.MACHINE,
            show_default=False,
        ),
    ] = None,
    device: shared.Device = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=parsers.output_file,
            metavar="FILE",
            help="Write the scores to this CSV file.",
            rich_help_panel=shared.OUTPUT,
        ),
    ] = None,
    log_level: shared.LogLevel = "info",
) -> None:
    """Measure what plans do to a model: KL divergence from the unquantized model, top-1 agreement, perplexity.

    Compares a plan with each of its formats used alone, with random plans of the same effective bits, and with other
    plans and checkpoints that were written (--against) on the same tokens. Weights of plans are rounded in memory,
    those of checkpoints decoded; activations are not quantized. Beside a plan_curve.csv of `recommend` it writes
    plan_scores.csv and draws plan_curve.png with what was measured of plans.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo --avg-bits 5
        python -m pydoc str > heldout.txt
        alpha-hill evaluate tiny_llama --plan demo/plan.json --text heldout.txt
        alpha-hill quantize tiny_llama --plan demo/plan.json -o quantized
        alpha-hill evaluate tiny_llama --against quantized --text heldout.txt
    """
    hide_progress = shared.start_logging(log_level)
    from alpha_callbacks.checkpoints.locate import locate
    from alpha_callbacks.cli.plan_files import plan_for
    from alpha_callbacks.cli.plan_scores import keep_scores
    from alpha_callbacks.cli.print_scores import print_scores, scores_text
    from alpha_callbacks.cli.progress import StepProgress
    from alpha_callbacks.errors import OptionError
    from alpha_callbacks.evaluation.evaluate import evaluate as score
    from alpha_callbacks.evaluation.language_model import load_language_model
    from alpha_callbacks.evaluation.written_model import written_model
    from alpha_callbacks.options import pick_device
    from alpha_callbacks.planning.plan_checks import check_model
    from alpha_callbacks.utils.atomic_files import write_text

    plan, against = plan or [], against or []
    if not plan and not against:
        raise OptionError("plan: expected --plan FILE or --against CHECKPOINT, got neither.")
    wanted = {name: plan_for(model, file) for name, file in zip(_names(plan), plan, strict=True)}
    for each in wanted.values():
        check_model(each, locate(model))
    language_model = load_language_model(model, device=pick_device(device), dtype=dtype, copies=3 if against else 2)
    checkpoints = {
        name: written_model(source, language_model)
        for name, source in zip(_names([Path(source) for source in against]), against, strict=True)
    }
    windows = language_model.windows(text, tokens=tokens, context=context)
    random = (8 if len(plan) == 1 else 0) if random is None else random
    with StepProgress("Evaluating", hidden=hide_progress) as progress:
        judged = next(iter(wanted.values())) if len(wanted) == 1 else wanted
        scores = score(
            language_model.model, judged, windows, random=random, seed=seed, written=checkpoints, on_progress=progress
        )
    print_scores(scores, tokens=windows.numel())
    if output is not None:
        write_text(output, scores_text(scores))
        say(f"Written to {output}")
    if wanted:
        keep_scores(scores, wanted, [file.parent for file in plan], text=text.name, tokens=windows.numel())


def _names(files: list[Path]) -> list[str]:
    """Return what files and folders are called: their stems, with the folder where two have the same."""
    files = [Path(abspath(file)) for file in files]  # "." and ".." have no names
    stems = [file.stem if file.is_file() or file.suffix == ".json" else file.name for file in files]
    names = [
        f"{file.parent.name}/{stem}" if stems.count(stem) > 1 else stem for file, stem in zip(files, stems, strict=True)
    ]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
