"""From a checkpoint to a quantized one through the Python API: scan, recommend, evaluate, write.

python examples/quantize.py                                                # the embedded tiny Llama, seconds
python examples/quantize.py meta-llama/Llama-3.1-8B --avg-bits 4.5         # needs the memory that the model takes
"""

import argparse
from pathlib import Path

import corpus

from alpha_callbacks import (
    AnalysisOptions,
    Plots,
    RecommendOptions,
    evaluate,
    fisher_trace,
    load_language_model,
    recommend,
    scan,
    write_model,
)
from alpha_callbacks.checkpoints.locate import EMBEDDED, locate
from alpha_callbacks.cli.print_plan import print_recommendation
from alpha_callbacks.cli.print_scores import print_scores
from alpha_callbacks.planning.recommendation_files import write_recommendation


def main() -> None:
    """Make a plan from measured errors and one backward pass, judge it on a held-out text, write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(EMBEDDED), help="folder or model id")
    parser.add_argument("--avg-bits", type=float, default=5.0, help="effective bits per weight (default: %(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("results/quantize"))
    options = parser.parse_args()

    precisions = AnalysisOptions(precisions=("bf16", "fp8", "int8", "int4"))
    result = scan(options.model, output_dir=options.output_dir / "scan", options=precisions, plots=Plots(formats=()))
    assert result is not None

    language_model = load_language_model(options.model)
    calibration, held_out = corpus.halves()
    sensitivity = fisher_trace(language_model.model, language_model.windows_of(calibration, tokens=512, context=64))
    wanted = RecommendOptions(policy="fisher", avg_bits=options.avg_bits)
    found = recommend(result.table, wanted, fisher=sensitivity, model=options.model)
    write_recommendation(found, options.output_dir)
    print_recommendation(found)

    windows = language_model.windows_of(held_out, tokens=512)
    print_scores(evaluate(language_model.model, found.plan, windows, random=4), tokens=windows.numel())

    for note in write_model(locate(options.model), found.plan, options.output_dir / "checkpoint", "compressed-tensors"):
        print(f"note: {note}")
    print(f"checkpoint: {options.output_dir / 'checkpoint'}")


if __name__ == "__main__":
    main()
