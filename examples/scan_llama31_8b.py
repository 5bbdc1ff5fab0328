"""Scan a pretrained checkpoint through the Python API: the heaviest tails, and what half precision does to them.

python examples/scan_llama31_8b.py                             # the embedded tiny Llama, seconds
python examples/scan_llama31_8b.py meta-llama/Llama-3.1-8B     # 16 GB download, 10 minutes on 2 cores, 1.4 GB of memory
"""

import sys

from alpha_callbacks import AnalysisOptions, Plots, scan
from alpha_callbacks.cli.progress import ScanProgress


def main(model: str | None = None, output_dir: str = "results/example") -> None:
    """Scan, with a progress bar, and print the five layers whose tail is heaviest for their shape."""
    options = AnalysisOptions(precisions=("fp32", "fp16", "bf16"), exclude="lm_head")
    with ScanProgress() as progress:
        result = scan(model, output_dir=output_dir, options=options, plots=Plots(formats=("png",)), observer=progress)
    if result is None:  # not the first rank under torchrun
        return
    rows = result.table.to_frame().query("precision == 'fp32' and status == 'ok'")
    columns = ["layer_name", "alpha", "alpha_null", "alpha_ratio"]
    print(rows.nsmallest(5, "alpha_ratio")[columns].to_string(index=False))
    print(f"charts and tables: {result.directory}")


if __name__ == "__main__":
    main(*sys.argv[1:])
