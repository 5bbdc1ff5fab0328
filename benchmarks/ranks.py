"""Two ranks against one, each with one CPU thread, on a checkpoint of Llama 3.1 8B's shapes at half the width.

python -m benchmarks.ranks      # about 3 minutes on 2 cores

Prints the seconds of the scan itself (run.json: reading, solving, gathering; not the start of Python) and their ratio,
and checks that the results are the same bytes.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SCAN = ["-m", "alpha_callbacks", "scan"]


def scan(checkpoint: Path, output: Path, ranks: int) -> float:
    """Scan with this number of ranks and return the seconds."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    options = [str(checkpoint), "-o", str(output), "--no-plots", "--threads", "1", "--log-level", "error"]
    subprocess.run([sys.executable, *launcher, *SCAN, *options], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return float(json.loads((output / "run.json").read_text())["seconds"])


def main() -> None:
    """Make the checkpoint, scan it both ways, print."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        maker = [str(REPOSITORY / "scripts" / "make_llama31_shapes.py"), "--scale-down", "2", "--layers", "4"]
        subprocess.run([sys.executable, *maker, "--output", str(checkpoint)], check=True, stderr=subprocess.DEVNULL)
        seconds = {ranks: scan(checkpoint, Path(folder) / str(ranks), ranks) for ranks in (1, 2)}
        results = [(Path(folder) / str(r) / "precision_alpha_hill_results.csv").read_bytes() for r in (1, 2)]
    print(f"29 matrices, one thread per rank: 1 rank {seconds[1]:.1f} s, 2 ranks {seconds[2]:.1f} s")
    print(f"2 ranks are {seconds[1] / seconds[2]:.2f} x one; results the same bytes: {results[0] == results[1]}")


if __name__ == "__main__":
    main()
