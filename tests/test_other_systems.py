"""What Windows and macOS lack is not used: scan, resume, training, report, history in a process that lacks it too.

No such machine has run this. Beside the modules and functions that only POSIX has, the process refuses what Windows
does: text without a named encoding, and file names that are illegal there.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LACKING = r"""
import os, re, sys, warnings
import psutil  # on Linux it needs `resource` itself

ABSENT = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "nis", "crypt", "spwd"}
FUNCTIONS = ("fork", "forkpty", "nice", "sched_getaffinity", "sched_setaffinity", "getgid", "getpgid", "setsid",
             "killpg", "mkfifo", "getloadavg", "chown", "pread", "preadv", "pwrite", "posix_fallocate",
             "posix_fadvise", "statvfs", "wait4", "posix_spawn")


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ImportError(f"No module named {name!r}", name=name)


for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in FUNCTIONS:
    if hasattr(os, name):
        delattr(os, name)
import signal
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGQUIT", "alarm", "setitimer", "pause", "sigwait"):
    if hasattr(signal, name):
        delattr(signal, name)

OUT = os.path.realpath(sys.argv[1])
ILLEGAL = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$', re.IGNORECASE)


def legal(event, arguments):
    if event in ("open", "os.mkdir", "os.rename"):
        for path in arguments[: 2 if event == "os.rename" else 1]:
            path = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
            parts = path[len(OUT):].split("/") if path.startswith(OUT) else []
            if any(ILLEGAL.search(part) or len(part) > 150 for part in parts):
                print("ILLEGAL", ascii(path), file=sys.stderr)
                os._exit(9)


sys.addaudithook(legal)
warnings.filterwarnings("error", category=EncodingWarning, module=r"alpha_(callbacks|integrations)")
"""
USE = r"""
from pathlib import Path
import torch
from safetensors.torch import save_file
from torch import nn
from alpha_callbacks import AnalysisOptions, Monitor, Plots, compare, merge, read_history, read_results, recommend, scan
from alpha_callbacks import write_report
from alpha_callbacks.analysis.processes import ScanShare
from alpha_callbacks.cli.app import main
from alpha_callbacks.plots.elements import canvas
from alpha_callbacks.utils.machine import available_memory, cpu_threads, peak_memory

out = Path(OUT)
assert available_memory() > 2**20 and peak_memory() > 2**20 and cpu_threads() >= 1
names = ["CON", "nul.up_proj", "a:b", 'q"?*', "dot.", "Case", "case", "\u0441\u043b\u043e\u0439", "x" * 200, "..",
         "a\\b", "model.layers.0.up_proj"]
torch.manual_seed(0)
weights = {f"{name}.weight": torch.randn(32, 32) ** (7 if name.lower() == "case" else 1) for name in names}
save_file(weights, out / "m.safetensors")
options = AnalysisOptions(precisions=("fp32", "bf16", "int4"))
canvas._WRITERS = {"png": lambda figure, file: file.write(b"blank")}  # here, only names count
result = scan(out / "m.safetensors", output_dir=out / "scan", options=options, save_spectra=True, threads=2)
assert len(result.table.layers) == len(names)
assert len([*(out / "scan/plots/standing_out").glob("spectrum_[Cc]ase_*")]) == 2  # one file, were case ignored
part = out / "scan" / "journal" / "rank-0.jsonl"
part.write_bytes(part.read_bytes()[:-100])  # killed
again = scan(out / "m.safetensors", output_dir=out / "scan", options=options, save_spectra=True, plots=Plots(()))
assert [row.alpha for row in again.table] == [row.alpha for row in result.table]
for i in (1, 2):
    scan(out / "m.safetensors", output_dir=out / "shards", shard=ScanShare(i, 2), plots=Plots(formats=()))
merge([out / "shards"], output_dir=out / "merged", plots=Plots(formats=()))
assert write_report(out / "scan").exists() and len(read_results(out / "scan").layers) == len(names)
model = nn.ModuleDict({"a b": nn.Linear(32, 32), "a_b": nn.Linear(32, 32), "CON": nn.Linear(32, 32)})
for turn in range(2):  # the second goes on where the first ended
    with Monitor(options, sinks=["csv", "tensorboard"], output_dir=out / "run", baseline="start", alerts="default",
                 background=turn == 1) as monitor:
        for step in range(2 * turn, 2 * turn + 2):
            model["CON"].weight.data += 0.1 * torch.randn(32, 32)
            monitor.log(model, step)
assert sorted({*read_history(out / "run").frame.step}) == [0, 1, 2, 3]
for command in (
    ["history", out / "run", "--no-plots"], ["compare", out / "scan", out / "merged", "-o", out / "compared"],
    ["recommend", out / "scan", "--avg-bits", "4.5", "--format", "layer-config", "--export-config", out / "plan.json"],
    ["report", out / "scan"], ["precisions"],
):
    sys.argv = ["alpha-hill", *map(str, command)]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, 1), command
for folder, _, files in os.walk(out):
    assert len({file.casefold() for file in files}) == len(files), folder
print("USED")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_what_only_posix_has_is_not_needed(tmp_path: Path) -> None:
    path = f"{REPOSITORY}:{REPOSITORY / 'integrations'}"
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", LACKING + USE, str(tmp_path)],
        capture_output=True,
        encoding="cp1252",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0 and done.stdout.endswith("USED\n"), done.stderr[-3000:]
    assert not list(tmp_path.rglob("*.tmp"))


def test_that_test_can_fail(tmp_path: Path) -> None:
    for code, why in (
        ("import fcntl", "No module named 'fcntl'"),
        ("os.fork()", "has no attribute 'fork'"),
        ("open(sys.argv[1] + '/a:b', 'w', encoding='utf-8')", "ILLEGAL"),
        ("__name__ = 'alpha_callbacks.x'; open(sys.argv[1] + '/a', 'w')", "EncodingWarning"),
    ):
        command = [sys.executable, "-X", "warn_default_encoding", "-c", f"{LACKING}\n{code}", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode and why in done.stderr, (code, done.stderr)
