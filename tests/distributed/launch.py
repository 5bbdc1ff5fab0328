"""Runs a worker script of this folder on several processes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.ranks import run_ranks

HERE = Path(__file__).parent
TORCH = (
    "torch._dynamo",  # by the first optimizer
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.parallel",
    "alpha_callbacks.training.monitor",
    "alpha_callbacks.sinks.csv_sink",
    "pandas",
)


def launch(
    script: str,
    folder: Path,
    *args: str,
    processes: int = 2,
    codes: tuple[int, ...] = (),
    imports: Sequence[str] = TORCH,
) -> list[dict[str, Any]]:
    """Return what each rank reported, and the end of its output.

    Args:
        script: file beside this one.
        folder: for reports and files of the run.
        args: of the script.
        processes: number of ranks.
        codes: expected exit codes; default all 0.
        imports: what the script imports, see `warm.start`.
    """
    told = run_ranks(
        [HERE / script, *args],
        folder,
        imports=imports,
        processes=processes,
        codes=codes,
        ALPHA_TEST_FOLDER=str(folder),
    )
    return [{**_report(folder / f"report_{rank}.json"), "output": text} for rank, text in enumerate(told)]


def _report(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}
