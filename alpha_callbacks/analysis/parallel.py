"""The one loop: many weights -> results, several matrices side by side."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch

from alpha_callbacks.analysis.analyze import analyze_weight, analyze_with_spectra
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.analysis.parts import part_count
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import OptionError, SourceError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.utils.crew import Crew
from alpha_callbacks.utils.device_streams import enter_stream
from alpha_callbacks.utils.machine import cpu_threads, device_memory
from alpha_callbacks.utils.one_thread import same_for_new_threads
from alpha_callbacks.weights.weight import BLOCK_ELEMENTS, HOLD_BYTES, Weight

_MEMORY_SHARE = 0.5  # of what is free when the run starts
_SMALL = 1e6  # of `predicted_cost`, about 60 x 60: what Python does around the operations takes longer than they do
_DEVICE_WORKERS = 4  # an accelerator solves one matrix at a time; the others are copied and multiplied meanwhile


@dataclass(frozen=True)
class Parallelism:
    """How many matrices are solved side by side.

    Attributes:
        workers: matrices at a time.
        threads: CPU threads for the products of each; an eigenvalue solve always takes one.
    """

    workers: int
    threads: int


def analyze_weights(
    weights: Sequence[Weight],
    options: AnalysisOptions,
    parallelism: Parallelism | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    spectra_of: Collection[str] = (),
    of_each: bool = True,
    ahead: Callable[[Sequence[Weight]], Iterable[Weight]] = iter,
    earlier: EarlierStates | None = None,
) -> Iterator[Result]:
    """Analyse weights, the most expensive first, and yield each as it is done.

    Workers that become free help with the products of a matrix that is much longer than wide before they begin another.

    The caller's torch settings are left as found: the work is done in threads of its own.

    Args:
        weights: from any source.
        options: what to compute.
        parallelism: workers and threads; default `choose_parallelism`. Values do not depend on it.
        stop: asked before each weight; once it says True no further one is begun, and those have no result.
        spectra_of: names of the layers whose results bring their eigenvalues.
        of_each: bring them for each precision, which spares no decomposition; see `analyze_with_spectra`.
        ahead: given the weights in their order, yields the same ones as they are taken, e.g. read ahead (`ReadAhead`).
        earlier: states of the same layers, which may spare decompositions.

    Raises:
        SourceError: the weights can be read no further; the layers that were at work are finished and yielded first.
    """
    parallelism = parallelism or choose_parallelism(weights, device=options.device)
    numbers = iter(range(parallelism.workers))

    def begin() -> None:
        torch.set_num_threads(parallelism.threads)
        enter_stream(options.device, next(numbers))
        Crew(pool, parallelism.workers).enter()

    task = partial(_timed, options=options, stop=stop, spectra_of=spectra_of, of_each=of_each, earlier=earlier)
    pool = ThreadPoolExecutor(parallelism.workers, "alpha-hill", initializer=begin)
    with same_for_new_threads(), ExitStack() as ended:
        ended.callback(pool.shutdown, wait=False, cancel_futures=True)
        order = sorted(weights, key=predicted_cost, reverse=True)
        todo, lost = iter(ahead(order)), list[SourceError]()
        # Never more than the workers need: at exit the interpreter waits for all that was submitted.
        running = {pool.submit(task, weight) for weight in islice(todo, parallelism.workers + 1)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            lost += [error for future in done if isinstance(error := future.exception(), SourceError)]
            wanted = 0 if lost else len(done)
            running |= {pool.submit(task, weight) for weight in islice(todo, wanted)}
            for future in done:
                if not isinstance(future.exception(), SourceError) and (result := future.result()) is not None:
                    yield result
        if lost:
            raise lost[0]


def _timed(
    weight: Weight,
    *,
    options: AnalysisOptions,
    stop: Callable[[], bool],
    spectra_of: Collection[str],
    of_each: bool,
    earlier: EarlierStates | None,
) -> Result | None:
    if stop():
        return None
    start = time.perf_counter()
    if weight.layer_name not in spectra_of:
        rows = analyze_weight(weight, options, earlier)
        return Result(weight.layer_name, rows, time.perf_counter() - start)
    found = analyze_with_spectra(weight, options, of_each=of_each)
    return Result(weight.layer_name, found.rows, time.perf_counter() - start, found.spectra)


def choose_parallelism(
    weights: Sequence[Weight], *, workers: int | None = None, threads: int | None = None, device: str = "cpu"
) -> Parallelism:
    """Divide the CPU threads among workers, as many as fit into half of the free memory.

    There are no more than matrices large enough to gain: small ones side by side wait for Python's lock at each step.

    Args:
        weights: to be analysed; the largest decide how many fit side by side.
        workers: matrices at a time; default one per thread, at most four on an accelerator.
        threads: all CPU threads to use; default all that this process has.
        device: where the solves run, and whose memory counts.

    Raises:
        OptionError: not a positive number.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected at least 1, got {value}.")
    total, large = threads or cpu_threads(), sum(predicted_cost(weight) > _SMALL for weight in weights)
    if workers is None:
        most = total if device == "cpu" else _DEVICE_WORKERS
        budget, fitting = device_memory(device) * _MEMORY_SHARE, 0
        for size in sorted(map(predicted_bytes, weights), reverse=True)[:most]:
            budget -= size
            fitting += budget >= 0
        workers = max(1, min(fitting, large) if device == "cpu" else fitting)
    return Parallelism(workers, max(1, total // workers) if large else 1)


def predicted_cost(weight: Weight) -> float:
    """Return a figure proportional to the time of one decomposition: Gram products, then tridiagonal reduction.

    The weights (2 cores of Zen 4): a solve reaches about half the rate of the products.
    """
    n = weight.n_eigs
    return weight.numel * n + 2.7 * n**3 + 50 * weight.numel


def predicted_bytes(weight: Weight) -> int:
    """Return the peak memory of one analysis: n x n arrays, vectors, the held matrix, its round trip, some blocks.

    Of a long matrix, the Gram matrices of all parts may be there at once, where many workers help, each with a block
    of its own, in fp64 and before it was converted.
    """
    square = 8 * weight.n_eigs**2
    is_wide = weight.out_features < weight.in_features
    wide_copy = min(weight.numel * max(4, weight.dtype.itemsize), HOLD_BYTES) if is_wide else 0
    return (
        int(2.5 * square)
        + (part_count(weight) - 1) * (square + 2 * 8 * min(BLOCK_ELEMENTS, weight.numel))
        + (weight.nbytes if weight.nbytes <= HOLD_BYTES else 0)
        + wide_copy
        + 4 * 8 * min(BLOCK_ELEMENTS, weight.numel)
    )
