"""What this machine has to give: memory now free, and the largest resident set so far."""

import resource
import sys
from pathlib import Path

_FALLBACK = 4 * 2**30


def available_memory() -> int:
    """Return the bytes that this process can still take: of the machine, and of its cgroup."""
    return min(_of_machine(), _of_cgroup())


def peak_memory() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return _FALLBACK


def _of_cgroup() -> int:
    base = Path("/sys/fs/cgroup")
    try:
        return int((base / "memory.max").read_text()) - int((base / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return sys.maxsize
