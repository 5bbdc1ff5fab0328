"""Many architectures, one after the other, by a process that may hang or die with one of them."""

import logging
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing.pool import Pool

from huggingface_hub import constants
from transformers.utils import logging as transformers_logging

from benchmarks.zoo.agreement import Agreement, agreement

LIMIT = 300  # seconds for one architecture
_BUILT_BY_ONE = 100  # models, after which a new process gives their memory back


def agreements(names: Iterable[str], limit: float = LIMIT) -> Iterator[Agreement]:
    """Yield what is found of each, by another process that is ended when one takes too long.

    Args:
        names: of architectures.
        limit: seconds for one.
    """
    pool = _worker()
    try:
        for name in names:
            try:
                yield pool.apply_async(agreement, (name,)).get(limit)
            except multiprocessing.TimeoutError:  # or its process has died, whose task nobody takes up again
                pool.terminate()
                pool = _worker()
                yield Agreement(name, reason=f"not built: no answer within {limit:g} s")
    finally:
        pool.terminate()


def _worker() -> Pool:
    processes = multiprocessing.get_context("spawn")  # a fork of a process whose torch has threads may hang
    return processes.Pool(1, _quiet, maxtasksperchild=_BUILT_BY_ONE)


def _quiet() -> None:
    constants.HF_HUB_OFFLINE = True  # no constructor fetches anything
    warnings.filterwarnings("ignore")  # of the constructors, as what they log
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
