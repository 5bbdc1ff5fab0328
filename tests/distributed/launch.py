"""Runs a worker script in several processes that form a torch.distributed job, and never longer than it should."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT = 240.0  # seconds after which ranks that hang are killed; beside other programs a start alone may take 30


def launch(
    script: str, folder: Path, *args: str, processes: int = 2, codes: tuple[int, ...] = ()
) -> list[dict[str, Any]]:
    """Return what each rank reported; fails with the end of their output if one does not end as expected.

    Args:
        script: file beside this one.
        folder: for reports and files of the run.
        args: of the script.
        processes: number of ranks.
        codes: expected exit codes; default all 0.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "ALPHA_TEST_FOLDER": str(folder),
    }
    running = []
    try:
        for rank in range(processes):
            with (folder / f"output_{rank}.txt").open("w") as output:
                environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                command = [sys.executable, str(HERE / script), *args]
                running.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + LIMIT
        ended = [_code(process, deadline - time.monotonic()) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    told = [(folder / f"output_{rank}.txt").read_text()[-3000:] for rank in range(processes)]
    expected = list(codes or (0,) * processes)
    assert ended == expected, f"exit codes {ended}, expected {expected}\n" + "\n=====\n".join(told)
    return [{**_report(folder / f"report_{rank}.json"), "output": told[rank]} for rank in range(processes)]


def _code(process: "subprocess.Popen[bytes]", seconds: float) -> int | str:
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return "killed: took too long"


def _report(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}
