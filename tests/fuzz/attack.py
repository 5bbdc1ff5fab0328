"""One input after the other in a process that may die, with what became of each: time and memory too.

Wanted is a result, a row with a status, or one line that names the file, within 10 s and 1 GB beyond the file's size.
Seconds are those of the processor, so that a busy machine fails nothing.
"""

import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from alpha_callbacks.errors import AlphaCallbacksError
from tests.fuzz.formats import FORMATS, seeds
from tests.fuzz.mutations import mutated

SECONDS, MEGABYTES = 10, 1000
_PATIENCE = 120  # seconds of the clock without an outcome: one waits for what never comes, as with a pipe
_BATCH = 500  # inputs of one process
VERDICTS = ("result", "row status", "refused", "failed")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        number: of the input; 0 is the seed itself.
        verdict: one of `VERDICTS`.
        why: of a failed one, the error and the line of the product that raised it.
        seconds: of the processor.
        megabytes: resident memory, at its peak, beyond what it was before.
    """

    number: int
    verdict: str
    why: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


@dataclass
class Tally:
    """The outcomes of one format."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    failed: list[Outcome] = field(default_factory=list)
    slowest: float = 0.0
    largest: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.counts[outcome.verdict] += 1
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.megabytes)
        if outcome.verdict == "failed":
            self.failed.append(outcome)

    @property
    def tried(self) -> int:
        """Number of inputs."""
        return sum(self.counts.values())


def input_of(name: str, number: int, sound: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return (name of the seed, bytes) of an input; the same for the same corpus."""
    chance = Random(f"{name}/{number}")
    seed = list(sound)[number % len(sound)]
    return seed, sound[seed] if number < len(sound) else mutated(sound[seed], chance)


def attack(
    name: str, numbers: Iterable[int], enough: Callable[[], bool] = lambda: False, tally: Tally | None = None
) -> Tally:
    """Try inputs of a format until `enough`, and return the tally with their outcomes."""
    tally, todo = tally or Tally(), iter(numbers)
    with tempfile.TemporaryDirectory(dir=_quick_disk()) as work:
        for i, (seed, data) in enumerate(seeds(name).items()):  # what is imported here, no child imports again
            if i == 0:
                _tried(name, 0, seed, data, Path(work))
        while not enough() and (batch := [number for _, number in zip(range(_BATCH), todo, strict=False)]):
            while batch:
                done = 0
                for outcome in _in_a_child(name, batch, Path(work), enough):
                    tally.add(outcome)
                    done += 1
                batch = [] if enough() else batch[done:]
    return tally


def _quick_disk() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _in_a_child(name: str, batch: list[int], work: Path, enough: Callable[[], bool]) -> Iterator[Outcome]:
    """Yield the outcome of each input until the child ends; the last is a failure if it did not end by itself."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _work(name, batch, work, writing, enough)
    os.close(writing)
    done, rest, killed = 0, b"", False
    while True:
        if not select.select([reading], [], [], _PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
            killed = True
        if not (piece := os.read(reading, 65536)):
            break
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield Outcome(**json.loads(line))
        done += len(lines)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        why = f"waited {_PATIENCE} s" if killed else f"the process ended with {status}"
        yield Outcome(batch[done], "failed", why)


def _work(name: str, batch: list[int], work: Path, writing: int, enough: Callable[[], bool]) -> None:
    """Try inputs and write a line about each; never returns."""
    code = 1
    try:
        sound = seeds(name)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        most = _memory("VmSize") * 2**20 + 3 * MEGABYTES * 10**6  # what asks for more gets a MemoryError
        resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, _too_long)
        for number in batch:
            seed, data = input_of(name, number, sound)
            outcome = _tried(name, number, seed, data, work)
            os.write(writing, json.dumps(asdict(outcome)).encode() + b"\n")
            if enough():
                break
        code = 0
    finally:
        os._exit(code)


class _TooLong(BaseException):
    """Time is over; no handler of the product catches it."""


def _too_long(*_: object) -> None:
    raise _TooLong


def _tried(name: str, number: int, seed: str, data: bytes, work: Path) -> Outcome:
    shutil.rmtree(work / name, ignore_errors=True)
    folder = work / name
    folder.mkdir()
    FORMATS[name].prepare(folder, seed)
    (folder / FORMATS[name].file).write_bytes(data)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before, start = _memory("VmRSS"), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    verdict, why = judged(lambda: FORMATS[name].read(folder), folder)
    signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, more = time.process_time() - start, _memory("VmHWM") - before
    if more > MEGABYTES + len(data) / 2**20:
        verdict, why = "failed", f"{more:,.0f} MB"
    return Outcome(number, verdict, why, round(seconds, 4), round(more, 1))


def judged(read: Callable[[], bool], folder: Path) -> tuple[str, str]:
    """Return (verdict, why) of what reads the files of a folder."""
    try:
        return ("result" if read() else "row status"), ""
    except (AlphaCallbacksError, OSError) as error:  # the command makes one line and exit code 2 of these
        said = str(error)
        if str(folder) not in said and folder.name not in said:
            return "failed", f"no file named: {type(error).__name__}: {said[:300]}"
        return "refused", ""
    except _TooLong:
        return "failed", f"over {SECONDS} s at {traceback.format_exc().splitlines()[-3].strip()}"
    except BaseException as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if "/alpha_" in f.filename]
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "the test"
        return "failed", f"{type(error).__name__} at {place}: {str(error)[:200]}"


def _memory(field_name: str) -> float:
    """Return a figure of /proc/self/status in MiB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field_name)) / 1024
