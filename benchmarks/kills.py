"""Commands that are killed at random moments and given again: are the files those of a run without a kill?

    python -m benchmarks.kills --count 20        # kills of each command

A command is killed (SIGKILL) when it has used a random share of the processor time of a whole run, once or twice in a
row, and then given again. Compared are all files in its folder, byte for byte, but those that two whole runs write
differently, since they hold times (run.json, the journal, report.html). Whatever else lies there is left over.
"""

import argparse
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from alpha_callbacks import AnalysisOptions, Monitor
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.cli import app

_POLL = 0.002  # seconds
_SAID = Path(tempfile.gettempdir()) / f"alpha-hill-kills-{os.getpid()}"  # stderr of the last command
_IMPORTS = (  # once, not in every fork
    *("transformers", "compressed_tensors", "alpha_callbacks.plots.draw_scan", "alpha_callbacks.plots.draw_history"),
    *("alpha_callbacks.report.scan_page", "alpha_callbacks.report.compare_page", "alpha_callbacks.report.history_page"),
)
_MEGABYTE = 1024  # of ru_maxrss


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        name: for the table.
        arguments: of alpha-hill.
        folder: that it writes to.
        before: content of the folder before, or None for none.
    """

    name: str
    arguments: Sequence[str]
    folder: Path
    before: Path | None = None

    def reset(self) -> None:
        """Put the folder back to what it was before any run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.before is not None:
            shutil.copytree(self.before, self.folder)

    def files(self) -> dict[str, bytes]:
        """Return path -> content of all files beside or below the folder that belong to it."""
        own = [path for path in self.folder.rglob("*") if path.is_file()]
        beside = [path for path in self.folder.parent.glob(f".{self.folder.name}*")]
        return {
            os.path.relpath(path, self.folder): path.read_bytes() if path.is_file() else b"" for path in own + beside
        }


@dataclass
class Count:
    """What became of a command's kills."""

    kills: int = 0
    runs_after: int = 0
    other_code: int = 0
    different: int = 0
    missing: int = 0
    left_over: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    examples: list[str] = field(default_factory=list)


def main() -> None:
    """Kill every command and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[])
    asked = parser.parse_args()
    for name in _IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as work:
        found = {}
        for command in commands(Path(work)):
            if not asked.only or command.name in asked.only:
                found[command.name] = killed(command, asked.count, random.Random(f"{command.name} {asked.seed}"))
                show_line(command.name, found[command.name], sys.stderr)
    print(f"$ python -m benchmarks.kills {' '.join(sys.argv[1:])}   # torch {torch.__version__}")
    heads = "kills", "runs after", "exit code", "different", "missing", "left over", "CPU", "memory"
    print(f"{'command':14}" + "".join(f"{head:>12}" for head in heads))
    for name, count in found.items():
        show_line(name, count, sys.stdout)
    print(f"{sum(count.kills for count in found.values())} kills")
    for name, count in found.items():
        print("".join(f"{name}: {example}\n" for example in count.examples), end="")


def show_line(name: str, count: Count, out: object) -> None:
    """Print one line of the table."""
    numbers = count.kills, count.runs_after, count.other_code, count.different, count.missing, count.left_over
    line = f"{name:14}" + "".join(f"{number:12}" for number in numbers)
    print(f"{line}{count.seconds:10.1f} s{count.megabytes:9.0f} MB", file=out, flush=True)  # type: ignore[call-overload]


def commands(work: Path) -> list[Command]:
    """Return every command that writes files, with its inputs made in a folder."""
    models = {name: work / name for name in ("a", "b")}
    for seed, model in enumerate(models.values()):
        model.mkdir()
        chance = torch.Generator().manual_seed(seed)
        shapes = {f"model.layers.{i}.mlp.{part}_proj.weight": (48, 64) for i in range(6) for part in ("up", "gate")}
        save_file(
            {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}, model / "model.safetensors"
        )
    low, quiet = ("-p", "bf16,int8,int4", "--threads", "1"), ("--no-plots", "--no-report")
    scans = {name: work / f"scan-{name}" for name in models}
    for name, model in models.items():
        done(["scan", str(model), "-o", str(scans[name]), *low, *quiet])
    tiny = work / "tiny"
    done(["scan", "-o", str(tiny), *low, *quiet])
    done(["recommend", str(tiny), "--avg-bits", "5"])
    for i in (1, 2):
        done(["scan", str(models["a"]), "-o", str(work / f"shard-{i}"), *low, "--shard", f"{i}/2"])
    run_folder = work / "run"
    if not (child := os.fork()):  # whoever has set torch's threads before a fork breaks those of the fork
        _train(run_folder)
    assert os.waitpid(child, 0)[1] == 0
    text, plan = work / "text.txt", str(tiny / "plan.json")
    text.write_text((__doc__ or "") * 20)

    def command(name: str, *arguments: str, before: Path | None = None) -> Command:
        folder = work / "out" / name.replace(", ", "-")
        return Command(name, [argument.replace("{}", str(folder)) for argument in arguments], folder, before)

    (work / "out").mkdir()
    first, tiny_llama = str(models["a"]), str(EMBEDDED)
    shards = [str(work / f"shard-{i}") for i in (1, 2)]
    scores = ("--text", str(text), "--tokens", "64", "--context", "32", "--output", "{}/scores.json")
    return [
        command("scan", "scan", first, "-o", "{}", *low, *quiet),
        command("scan, charts", "scan", first, "-o", "{}", "--threads", "1"),
        command("merge", "merge", *shards, "-o", "{}", *quiet),
        command("report", "report", "{}", before=scans["a"]),
        command("recommend", "recommend", "{}", "--policy", "thresholds", before=scans["a"]),
        command("compare", "compare", *map(str, scans.values()), "-o", "{}"),
        command("history", "history", "{}", before=run_folder),
        command("export", "export", plan, "-o", "{}/config.py", "--format", "torchao", before=run_folder),
        command("evaluate", "evaluate", tiny_llama, "--plan", plan, *scores, before=run_folder),
        command("quantize", "quantize", tiny_llama, "--plan", plan, "-o", "{}"),
    ]


def _train(folder: Path) -> None:
    """Watch five states, and end the process."""
    code = 1
    try:
        with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=["csv"], output_dir=folder) as monitor:
            layers = torch.nn.ModuleDict({f"layer{i}": torch.nn.Linear(32, 32) for i in range(4)})
            for step in range(5):
                monitor.log(layers, step)
        code = 0
    finally:
        os._exit(code)


def done(arguments: Sequence[str]) -> None:
    """Run a command to its end."""
    code, *_ = run(arguments)
    assert code == 0, arguments


def killed(command: Command, wanted: int, chance: random.Random) -> Count:
    """Kill a command so many times, and compare."""
    count, references = Count(), list[dict[str, bytes]]()
    for _ in range(2):
        command.reset()
        time.sleep(1.0)  # times in files have seconds: the two runs shall differ in them
        code, seconds, megabytes = run(command.arguments)
        assert code == 0, command.name
        references.append(command.files())
        count.seconds, count.megabytes = max(count.seconds, seconds), max(count.megabytes, megabytes)
    one, two = references
    same = {name for name in one if one[name] == two.get(name)}
    while count.kills < wanted:
        command.reset()
        ends = [run(command.arguments, chance.uniform(0.01, 1) * seconds)[0] for _ in range(chance.choice((1, 1, 2)))]
        if -9 not in ends:
            continue
        count.kills += ends.count(-9)
        code, _, megabytes = run(command.arguments)
        found = command.files()
        different = sorted(name for name in same if name in found and found[name] != one[name])
        missing, left_over = sorted(one.keys() - found.keys()), sorted(found.keys() - one.keys())
        count.runs_after += 1
        count.other_code += code != 0
        for kind, names in (("different", different), ("missing", missing), ("left_over", left_over)):
            setattr(count, kind, getattr(count, kind) + bool(names))
        if (code or different or missing or left_over) and len(count.examples) < 5:
            said = f": {_last_line()}" if code else ""
            count.examples.append(
                f"code {code}{said}, different {different[:3]}, missing {missing[:3]}, left over {left_over[:3]}"
            )
        count.megabytes = max(count.megabytes, megabytes)
    return count


def run(arguments: Sequence[str], share: float | None = None) -> tuple[int, float, float]:
    """Run a command in a fork; kill it when it has used so many seconds of the processor.

    Returns:
        Exit code (-9: killed), seconds of the processor, MB at its peak.
    """
    child = os.fork()
    if not child:
        _command(arguments)
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / _MEGABYTE
        if share is not None and _used(child) > share:
            os.kill(child, 9)
            share = None
        time.sleep(_POLL)


def _used(process: int) -> float:
    """Return the processor time of all threads of a process, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _last_line() -> str:
    """Return the end of what the last command said, two lines of a traceback at most."""
    return " / ".join(_SAID.read_text(errors="replace").strip().splitlines()[-3:])[-400:]


def _command(arguments: Sequence[str]) -> None:
    code = 99
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        said = os.open(_SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for target, source in enumerate((silence, silence, said)):
            os.dup2(source, target)
        sys.argv = ["alpha-hill", *arguments]
        app.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
