"""A checkpoint, its scan, a comparison and a training run whose layers have hostile names."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.hostile_names.names import LIVE_ONLY

SIZE = 32
_DRIVER = """
import json, sys
from alpha_callbacks.cli.app import main
codes, (_, todo, out) = [], sys.argv
for arguments in json.load(open(todo)):
    sys.argv = ["alpha-hill", *arguments]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code)
json.dump(codes, open(out, "w"))
"""
Printed = tuple[list[Any], str]  # exit codes, text


class Material:
    """A checkpoint with these names, its scan, another to compare with, and a training run of the same names.

    Args:
        folder: for everything.
        names: of layers.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, list(names)
        self._scans: Printed | None = None
        for which in ("a", "b"):
            generator = torch.Generator().manual_seed(ord(which))
            weights = {f"{name}.weight": self._matrix(generator) for name in names}
            save_file(weights, folder / f"{which}.safetensors")

    def _matrix(self, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(SIZE, SIZE, generator=generator) * torch.logspace(0, -1, SIZE)

    def run(self, *commands: Sequence[object], terminal: bool = False, **environment: str) -> Printed:
        """Run commands in one process; return their exit codes and what they print, to a pseudo-terminal or a pipe."""
        todo, codes = self.folder / "todo.json", self.folder / "codes.json"
        codes.unlink(missing_ok=True)
        todo.write_text(json.dumps([list(map(str, command)) for command in commands]), encoding="utf-8")
        program = [sys.executable, "-c", _DRIVER, str(todo), str(codes)]
        variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment}
        read, write = pty.openpty() if terminal else os.pipe()
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=write, stderr=write, env=variables)
        os.close(write)
        printed = b"".join(_pieces(read))
        os.close(read)
        process.wait()
        return json.loads(codes.read_text()) if codes.exists() else [process.returncode], printed.decode(
            "utf-8", "replace"
        )

    def scans(self) -> Printed:
        """Scan both checkpoints, recommend, compare: once."""
        if self._scans is None:
            out, precisions = self.folder, ("-p", "bf16,int8,int4", "--threads", 1)
            self._scans = self.run(
                ("scan", out / "a.safetensors", "-o", out / "A", *precisions, "--plot-format", "svg", "--plots", "all"),
                ("scan", out / "b.safetensors", "-o", out / "B", *precisions, "--no-plots"),
                ("recommend", out / "A", "--avg-bits", 12),
                ("compare", out / "A", out / "B", "-o", out / "C", "--no-plots"),
                ("report", out / "A"),
                terminal=True,
            )
        return self._scans

    def model(self) -> nn.Module:
        """Return a live model whose layers have the names, and those that no file can hold; dots are left out."""
        modules = nn.Module()
        for name in (*self.names, *LIVE_ONLY):
            module = nn.Linear(SIZE, SIZE, bias=False)
            modules._modules[name.replace(".", "\u2024")] = module
        return modules

    def training(self) -> Path:
        """Watch two states of the live model; once."""
        folder = self.folder / "run"
        if not folder.exists():
            from alpha_callbacks import AnalysisOptions, Monitor

            options = AnalysisOptions(precisions=("fp32", "int8"))
            model = self.model()
            with Monitor(options, sinks=["csv", "tensorboard"], output_dir=folder, alerts=["alpha > 0"]) as monitor:
                for step in range(2):
                    torch.manual_seed(step)
                    for weight in model.parameters():
                        weight.data += 0.1 * torch.randn_like(weight) * torch.logspace(0, -1, SIZE)
                    monitor.log(model, step)
        return folder


def _pieces(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # how a pseudo-terminal ends
            return
        if not piece:
            return
        yield piece
