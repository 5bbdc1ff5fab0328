"""Malformed files, given to the commands: a table of exit codes, of time and of memory.

    python -m benchmarks.malformed                 # all of tests/fuzz/malformed, some minutes and 5 GB of disk
    python -m benchmarks.malformed torch gguf      # those whose names begin so

Wanted of each is exit code 0, 1 (a row without alpha) or 2 with one line that names the file, within 10 s and 1 GB
beyond the file's size. Each runs in a fork of a process that has imported everything; seconds are of the processor.
"""

import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import alpha_integrations.checkpoints.gguf_reader  # noqa: F401  imported once, not in every fork
import torch

from alpha_callbacks.cli import app
from tests.fuzz.attack import MEGABYTES, SECONDS
from tests.fuzz.malformed import all_cases
from tests.fuzz.malformed.archives import WAS_RUN
from tests.fuzz.malformed.case import Case

_PATIENCE = 300.0  # seconds of the clock until a command is ended, which then waits for what never comes
_OPTIONS = {
    "scan": ("-o", "{}/out", "--no-plots", "--no-report", "--threads", "1", "-p", "fp32"),
    "history": ("--no-plots",),
}


def main() -> None:
    """Run the cases and print the table."""
    torch.set_num_threads(1)
    wanted = tuple(sys.argv[1:])
    counts, faults = dict[str, Counter[str]](), list[str]()
    slowest, largest = (0.0, ""), (0.0, "")
    for case in all_cases():
        if wanted and not case.name.startswith(wanted):
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "case"
            folder.mkdir()
            case.write(folder)
            size = sum(os.lstat(path).st_size for path in folder.rglob("*"))
            code, seconds, megabytes, said = run(case, folder)
        slowest, largest = max(slowest, (seconds, case.name)), max(largest, (megabytes, case.name))
        fault = fault_of(case, code, seconds, megabytes - size / 1e6, said)
        counts.setdefault(case.name.partition("-")[0], Counter())["failed" if fault else code] += 1
        if fault:
            faults.append(f"{case.name}: {fault}")
            print(faults[-1], file=sys.stderr, flush=True)
    print(f"$ python -m benchmarks.malformed {' '.join(wanted)}   # torch {torch.__version__}")
    print(f"{'kind':14} {'files':>6} {'exit 0':>7} {'exit 1':>7} {'exit 2':>7} {'failed':>7}")
    for kind, found in {**counts, "all": sum(counts.values(), Counter())}.items():
        print(f"{kind:14} {found.total():6} " + " ".join(f"{found[code]:7}" for code in ("0", "1", "2", "failed")))
    print(
        f"slowest {slowest[0]:.1f} s ({slowest[1]}), most memory {largest[0]:.0f} MB beyond the process ({largest[1]})"
    )
    print(f"code of a pickle was run: {WAS_RUN.exists()}")
    print("\n".join(faults))
    sys.exit(bool(faults) or WAS_RUN.exists())


def run(case: Case, folder: Path) -> tuple[str, float, float, str]:
    """Return (exit code, seconds, megabytes, what was printed to stderr) of a command."""
    arguments = [part.replace("{}", str(folder)) for part in (*case.command, *_OPTIONS.get(case.command[0], ()))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, output = time.monotonic(), folder.parent / "stderr"
    child = os.fork()
    if not child:
        command(arguments, output)
    used: resource.struct_rusage | None = None
    while used is None and time.monotonic() - start < _PATIENCE:
        pid, status, found = os.wait4(child, os.WNOHANG)
        used = found if pid else None
        time.sleep(0.01)
    if used is None:
        os.kill(child, 9)
        _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    said = output.read_text(errors="replace") if output.exists() else ""
    return str(os.waitstatus_to_exitcode(status)), seconds, (used.ru_maxrss - before) / 1e3, said


def command(arguments: list[str], output: Path) -> None:
    """Be the command; never returns."""
    code = 99
    try:
        for target, place in ((0, os.devnull), (1, os.devnull), (2, str(output))):
            os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC), target)
        most = 6 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        sys.argv = ["alpha-hill", *arguments]
        app.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def fault_of(case: Case, code: str, seconds: float, megabytes: float, said: str) -> str:
    """Return what is wrong with an outcome, or an empty string."""
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else ""
    if code not in ("0", "1", "2"):
        return f"exit code {code}: {lines[-2][:300] if len(lines) > 1 else last}"
    if code == "2" and ("alpha-hill: " not in last or "/case" not in last.replace("\n", "")):
        return f"no line that names the file: {last}"
    if "Traceback" in said:
        return "a traceback"
    if seconds > SECONDS:
        return f"{seconds:.1f} s"
    return f"{megabytes:.0f} MB" if megabytes > MEGABYTES else ""


if __name__ == "__main__":
    main()
