"""A program on several processes that form a torch.distributed job, as torchrun starts it; none runs for ever."""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support import warm

LIMIT = 240.0  # seconds after which ranks that hang are killed


def run_ranks(
    arguments: Sequence[object],
    folder: Path,
    *,
    imports: Sequence[str],
    processes: int = 2,
    codes: tuple[int, ...] = (),
    first: Sequence[str] = (),
    **environment: str,
) -> list[str]:
    """Return the end of what each rank printed; fails if one does not end as expected.

    Args:
        arguments: of the interpreter, see `warm.start`.
        folder: for what the ranks print.
        imports: see `warm.start`.
        processes: number of ranks.
        codes: expected exit codes; default all 0.
        first: see `warm.start`.
        environment: more variables of the ranks.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(warm.REPOSITORY), str(warm.REPOSITORY / "integrations")]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    outputs = [folder / f"output_{rank}.txt" for rank in range(processes)]
    running = []
    try:
        for rank, output in enumerate(outputs):
            output.unlink(missing_ok=True)
            of_rank = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            running.append(
                warm.start(arguments, imports=imports, first=first, output=output, errors=output, environment=of_rank)
            )
        deadline = time.monotonic() + LIMIT
        ended = [_code(process, deadline - time.monotonic()) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait(LIMIT)
    told = [output.read_text()[-3000:] for output in outputs]
    expected = list(codes or (0,) * processes)
    assert ended == expected, f"exit codes {ended}, expected {expected}\n" + "\n=====\n".join(told)
    return told


def _code(process: warm.Program, seconds: float) -> int | str:
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return "killed: took too long"
