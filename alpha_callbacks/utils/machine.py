"""What this machine has to give: processors, memory now free, and the largest resident set so far."""

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def local_ranks() -> int:
    """Return the number of processes that torchrun started on this machine, 1 without it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cpu_threads() -> int:
    """Return the CPU threads that this process may use: those of all local ranks, divided among them."""
    return max(1, cpu_cores() // local_ranks())


def cpu_cores() -> int:
    """Return the CPU threads of all local ranks together: affinity and cgroup quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _cgroup_cores())))


def machine_cores() -> int:
    """Return the CPU threads of the machine, whatever this process may use of them.

    For choices that change last digits: a run that is resumed with another affinity writes the same bytes.
    """
    return os.cpu_count() or 1


def _cgroup_cores() -> float:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return max(1.0, float(quota) / float(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return float("inf")


def available_memory() -> int:
    """Return the bytes that this process can still take: its share (among local ranks) of the machine or cgroup."""
    return min(_of_machine(), _of_cgroup()) // local_ranks()


def device_memory(device: str) -> int:
    """Return the bytes that this process can still take where it computes: on the machine, or on a CUDA device."""
    if not device.startswith("cuda"):
        return available_memory()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def peak_memory() -> int:
    """Return the largest resident set of this process so far, in bytes; where no system tells it, the present one.

    Linux's ru_maxrss would start at that of the parent process, so /proc is asked first.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_machine() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _of_cgroup() -> int:
    try:
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii")) - int(
            stat["inactive_file"]
        )  # page cache gives way
        return int((_CGROUP / "memory.max").read_text(encoding="ascii")) - used
    except (OSError, ValueError, KeyError):  # no cgroup v2, or "max"
        return sys.maxsize
