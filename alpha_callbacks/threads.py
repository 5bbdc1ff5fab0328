"""CPU threads: how many are ours, and one thread for each eigenvalue solve."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def cpu_threads() -> int:
    """Return the CPU threads that this process may use: its affinity and cgroup quota, divided among local ranks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, int(min(cores, _cgroup_cores())) // ranks)


def _cgroup_cores() -> float:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1.0, float(quota) / float(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return float("inf")


@contextmanager
def solver_threads() -> Iterator[None]:
    """Run the body with one CPU thread.

    LAPACK's eigenvalue drivers hardly gain from more, and their last bits depend on the number: with one, results are
    the same bits whatever the machine, the workers or the ranks. torch keeps this number per thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
