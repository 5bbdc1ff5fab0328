"""Is the callback harmless, right and heard in every framework? One small run in each, with it and without.

    python -m benchmarks.hosts                            # all, about 3 minutes on 2 idle cores
    python -m benchmarks.hosts "HF Trainer" Lightning     # some

Prints a line per host:

    rows        alphas of states with a checkpoint, compared with NumPy's SVD of the tensors in the file
    worst       largest difference
    states      measured, and how many of them have a file
    bits        "same": the run ended with the bits of the run without the callback
    copies      pickled, deep-copied, cloud-pickled before, during and after the run: how many came out whole
    heard       how many of the states each logger has

A host whose package is not installed is skipped, with a line that says so. Each one runs in a process of its own.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

from benchmarks.training_hosts.all_hosts import HOSTS
from benchmarks.training_hosts.host import Host, Outcome, outcome

LIMIT = 1800.0  # seconds
PACKAGES = ("torch", "lightning", "transformers", "accelerate", "trl", "sentence-transformers", "ray", "wandb")
HEADER = (
    f"{'host':26} {'attached by':41} {'rows':>5} {'worst':>8} {'states':>7} {'bits':>6} {'copies':>7}  heard"
)  # fmt: skip


def main() -> None:
    """Run the hosts one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hosts", nargs="*", help="names; default all")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="what the frameworks print goes there")
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", WANDB_MODE="offline", WANDB_SILENT="true", HF_HUB_OFFLINE="1")
    os.environ.update(TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
    chosen = [HOSTS[name] for name in args.hosts or HOSTS]
    present = [host for host in chosen if not _missing(host)]
    _import_once(present)
    print(_versions())
    print(HEADER, flush=True)
    whole = True
    for host in chosen:
        missing = _missing(host)
        text = f"{host.name:26} skipped: {', '.join(missing)} not installed" if missing else _line(host, args.log)
        whole &= "FAILED" not in text
        print(text, flush=True)
    sys.exit(0 if whole else 1)


def _line(host: Host, log: Path) -> str:
    found = _in_a_process(host, log)
    if isinstance(found, str):
        return f"{host.name:26} {host.attached:41} FAILED: {found}"
    heard = ", ".join(f"{logger} {steps}/{found.states}" for logger, steps in found.heard.items())
    copies = f"{found.copies}/{found.copies + len(found.failed_copies)}"
    states, bits = f"{found.states} ({found.saved})", "same" if found.identical else "FAILED"
    text = f"{host.name:26} {host.attached:41} {found.rows:5} {found.worst:8.1e} "
    text += f"{states:>7} {bits:>6} {copies:>7}  {heard}"
    return "\n".join([text, *(f"    FAILED: {each}" for each in found.failed_copies)])


def _in_a_process(host: Host, log: Path) -> Outcome | str:
    """Return the outcome, or what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                _work(host, folder, log)
            os._exit(0)
        deadline = time.monotonic() + LIMIT
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                os.waitpid(child, 0)
                return f"took more than {LIMIT:.0f} s"
            time.sleep(0.1)
        told = folder / "outcome.json"
        if not told.exists():
            return "the process ended early"
        found = json.loads(told.read_text())
        return found if isinstance(found, str) else Outcome(**found)


def _work(host: Host, folder: Path, log: Path) -> None:
    output = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    try:
        text = outcome(host, folder).text()
    except BaseException as error:
        traceback.print_exc()
        text = json.dumps(f"{type(error).__name__}: {error}"[:200])
    (folder / "outcome.json").write_text(text)


def _missing(host: Host) -> list[str]:
    return [package for package in host.needs if find_spec(package) is None]


def _import_once(hosts: list[Host]) -> None:
    """Import what the processes will need before they are forked from this one."""
    with contextlib.suppress(ImportError):
        for package in {package for host in hosts for package in host.needs} - {"ray"}:
            __import__(package)


def _versions() -> str:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


if __name__ == "__main__":
    main()
