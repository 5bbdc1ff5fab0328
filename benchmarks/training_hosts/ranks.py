"""Two processes that form a job of torch.distributed, forked, so that they need no imports of their own."""

import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

LIMIT = 240.0  # seconds


class Job:
    """Two processes under way.

    Attributes:
        codes: rank -> exit code of those that have ended.
    """

    def __init__(self, children: dict[int, int]) -> None:
        self._children = children  # rank -> process id
        self.codes: dict[int, int] = {}

    def wait(self, seconds: float) -> list[int]:
        """Wait for both; kill and return the ranks that are still there after this time."""
        deadline = time.monotonic() + seconds
        while len(self.codes) < len(self._children) and time.monotonic() < deadline:
            for rank, child in self._children.items():
                if rank not in self.codes and (ended := os.waitpid(child, os.WNOHANG))[0]:
                    self.codes[rank] = os.waitstatus_to_exitcode(ended[1])
            time.sleep(0.02)
        hanging = [rank for rank in self._children if rank not in self.codes]
        for rank in hanging:
            os.kill(self._children[rank], 9)
            os.waitpid(self._children[rank], 0)
        return hanging


def started(work: Callable[[int], None], **environment: str) -> Job:
    """Start two ranks of a function that takes its rank; they end with 1 where it fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = {}
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_PORT=str(port),
                MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo", **environment,
            )  # fmt: skip
            code = 1
            try:
                work(rank)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children[rank] = child
    return Job(children)


def on_two_ranks(work: Callable[[int, Callable[[str], object]], None], **environment: str) -> list[str]:
    """Run a function on two ranks, given its rank and a function that takes one text back; return the texts.

    Raises:
        AssertionError: a rank failed, or did not end.
    """
    with TemporaryDirectory() as folder:
        told = [Path(folder) / str(rank) for rank in range(2)]
        job = started(lambda rank: work(rank, told[rank].write_text), **environment)
        hanging = job.wait(LIMIT)
        assert job.codes == {0: 0, 1: 0}, f"exit codes of the ranks: {job.codes}, hanging: {hanging}"
        return [path.read_text() for path in told]
