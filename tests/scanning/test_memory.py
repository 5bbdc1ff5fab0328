"""A scan's memory is that of a matrix being solved, not of the checkpoint."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.warm import run_code

GROWTH = """
    import sys
    from pathlib import Path
    from alpha_callbacks import AnalysisOptions, Plots, scan
    from alpha_callbacks.utils.machine import peak_memory
    from alpha_callbacks.weights import weight

    weight.HOLD_BYTES //= 4  # then a quarter of the file tells the same
    peaks = []
    for file in map(Path, sys.argv[1:]):
        options = AnalysisOptions(precisions=("fp32",))
        scan(file, output_dir=file.with_suffix(".out"), options=options, plots=Plots(formats=()), report=False)
        peaks.append(peak_memory())
    print(peaks[1] - peaks[0])
"""


def test_a_tall_tensor_is_streamed(tmp_path: Path) -> None:
    """After a small lm_head, which has everything loaded, one too large to be held: it costs less than half of it."""
    stripe = torch.randn(10_000, 64).bfloat16()  # few columns: the product of so long a matrix is not what is tested
    few, tall = tmp_path / "few.safetensors", tmp_path / "tall.safetensors"
    save_file({"lm_head.weight": stripe}, few)
    save_file({"lm_head.weight": stripe.repeat(240, 1)}, tall)
    done = run_code(GROWTH, few, tall)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < tall.stat().st_size / 2
