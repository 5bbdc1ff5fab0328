"""Names that an adversary chose, in everything that is written of them; what fails, by output.

    python -m benchmarks.hostile_names                      # minutes; needs the extra `test`, chromium and LibreOffice
    python -m benchmarks.hostile_names terminal csv         # some of the outputs
    python -m benchmarks.hostile_names --every 9 csv        # each ninth name

Readers are independent of what is read: a pseudo-terminal, pandas, Python's csv, LibreOffice, TensorBoard's and W&B's
own files, chromium. Where an output is not checked because a program is missing, its line says so.
"""

import argparse
import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.foreign_names import NAMES, SURROGATES

RESULTS = Path(__file__).parent / "results" / "hostile_names.txt"
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
_RICH = re.compile(r"\x1b\[[0-9;]*[mAK]|\x1b\[\?25[lh]")  # what rich sends to colour, and to draw a bar again


@dataclass
class Checked:
    """What was tried in one output, and what failed."""

    output: str
    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def check(self, good: bool, what: str) -> None:
        """Count one check."""
        self.tried += 1
        if not good:
            self.failed.append(what)

    @property
    def line(self) -> str:
        """One line of the table."""
        first = f"   e.g. {ascii(self.failed[0])[:100]}" if self.failed else ""
        return f"{self.output:44} {self.tried:6} {len(self.failed):6}{first}"


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
                ("scan", out / "a.safetensors", "-o", out / "A", *precisions, "--plot-format", "svg"),
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
        for name in (*self.names, *SURROGATES):
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


def raw(text: str, names: Sequence[str]) -> list[str]:
    """Return what of these names a terminal would act on, or could not show: see `_RICH` for what is ours."""
    found = [
        name for name in names for part in re.findall(r"[^\x20-\x7e]+.{0,6}", name) if _dangerous(part) and part in text
    ]
    other = _RICH.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return found + [f"U+{ord(c):04X}" for c in sorted(set(other)) if c != "\n" and not c.isprintable()]


def _dangerous(part: str) -> bool:
    return not part.isprintable()


def terminal(material: Material) -> Iterator[Checked]:
    """Everything that the commands print, errors with names of files, and encodings that lack most of it."""
    codes, text = material.scans()
    found = Checked("terminal: scan, recommend, compare, report")
    found.check(set(codes) <= {0, 1}, f"exit codes {codes}")
    for what in raw(text, material.names):
        found.check(False, what)
    found.tried += len(material.names)
    yield found
    found = Checked("terminal: errors with names of files")
    (bad := material.folder / "bad").mkdir(exist_ok=True)
    files = []
    for name in (*material.names, *SURROGATES):
        with suppress(OSError, ValueError):  # not every name can be one of a file
            (bad / f"{name}.safetensors").write_bytes(b"x")
            files.append(bad / f"{name}.safetensors")
    codes, text = material.run(*(("scan", file, "-o", material.folder / "none") for file in files), terminal=True)
    for code, file in zip(codes, files, strict=True):
        found.check(code == 2, f"{file.name}: exit code {code}")
    for what in raw(text, [file.name for file in files]):
        found.check(False, what)
    yield found
    found = Checked("terminal: latin-1, ascii, cp1252, LC_ALL=C")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    names = {encoding: {"PYTHONIOENCODING": encoding} for encoding in ("latin-1", "ascii", "cp1252")}
    for encoding, variables in {**names, "LC_ALL=C": plain}.items():
        commands = (
            (
                "scan",
                material.folder / "a.safetensors",
                "-o",
                material.folder / "A",
                "-p",
                "bf16,int8,int4",
                "--no-plots",
            ),
            ("compare", material.folder / "A", material.folder / "B", "-o", material.folder / "C", "--no-plots"),
            ("recommend", material.folder / "A", "--avg-bits", 12),
            ("history", material.training(), "--no-plots"),
            ("precisions",),
            ("scan", "--help"),
        )
        codes, text = material.run(*commands, terminal=False, **variables)
        for command, code in zip(commands, codes, strict=True):
            found.check(code in (0, 1), f"{encoding}: {command[0]} ends with {code}: {text[-200:]}")
    yield found


def _documented(cell: str) -> str:
    """Undo what docs/foreign_text.md says of cells, written anew from that page."""
    cell = re.sub("((?:^|;) *)'('*[=+@\uff0b\uff0d\uff1d\uff20-])", r"\1\2", cell)
    parts = re.split(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", cell)
    parts[1::2] = ["\\" if part == "\\" else chr(int(part[1:], 16)) for part in parts[1::2]]
    return "".join(parts)


def _files(material: Material) -> dict[Path, tuple[str, set[str]]]:
    """Return CSV file -> column of names, and the names that must be there."""
    material.scans()
    run, live = material.training(), {str(name).replace(".", "\u2024") for name in (*material.names, *SURROGATES)}
    names = set(material.names)
    coverage = {f"{name}" for name in names}
    return {
        material.folder / "A" / "precision_alpha_hill_results.csv": ("layer_name", names),
        material.folder / "A" / "coverage.csv": ("name", coverage),
        material.folder / "A" / "recommendations.csv": ("layer_name", names),
        material.folder / "C" / "comparison.csv": ("layer_name", names),
        run / "alpha_hill_history.csv": ("layer_name", live),
        run / "step_00000001" / "precision_alpha_hill_results.csv": ("layer_name", live),
    }


def csv_files(material: Material) -> Iterator[Checked]:
    """Every CSV: all names come back by the documented rule, in pandas and csv; one line a row; numbers are numbers."""
    import pandas

    from alpha_callbacks import read_history, read_results

    for file, (column, names) in _files(material).items():
        found = Checked(f"CSV: {file.name} ({file.parent.name})")
        content = file.read_bytes().decode()
        frame = pandas.read_csv(file, dtype={column: str}, keep_default_na=False)
        rows = list(csv.DictReader(content.split("\n")))
        for reader, cells in (("pandas", list(frame[column])), ("csv", [row[column] for row in rows])):
            back = {_documented(cell) for cell in cells}
            for name in names:
                found.check(name in back, f"{reader}: {name}")
            found.check(back == names, f"{reader}: {len(back - names)} names that are none")
        found.check(
            "\r" not in content and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", content), "control characters"
        )
        found.check(content.count("\n") == len(rows) + 1, "a row is not a line")
        numeric = [name for name in frame.columns if name.startswith(("alpha", "drift", "delta"))]
        for name in numeric:
            found.check(
                pandas.to_numeric(frame[name], errors="coerce").notna().sum() == (frame[name] != "").sum(), name
            )
        yield found
    found = Checked("CSV: our own readers")
    for table in (read_results(material.folder / "A"), read_results(material.folder / "run" / "step_00000001")):
        back = {row.layer_name for row in table}
        wanted = (
            set(material.names)
            if "int4_g32" in table.precisions
            else {*read_history(material.training()).frame.layer_name}
        )
        for name in wanted:
            found.check(name in back, name)
    yield found


def libreoffice(material: Material) -> Iterator[Checked]:
    """Every CSV in LibreOffice, which is told to evaluate formulas, with a comma and with a semicolon between cells."""
    program = shutil.which("soffice")
    for separator, code in ((",", 44), (";", 59)):
        found = Checked(
            f"LibreOffice, cells split at {separator}" + ("" if program else " (not installed: NOT CHECKED)")
        )
        if program:
            out = material.folder / f"office-{code}"
            control = material.folder / "control.csv"  # shows that a formula would be seen
            control.write_text("=1+1,x\n" if code == 44 else "=1+1;x\n", encoding="utf-8")
            files = [*_files(material), control]
            for i, file in enumerate(files):
                shutil.copy(file, material.folder / f"sheet{code}-{i}.csv")
            sheets = [str(material.folder / f"sheet{code}-{i}.csv") for i in range(len(files))]
            options = f"CSV:{code},34,76,1,,0,false,true,false,false,false,-1,true"
            command = [program, f"-env:UserInstallation={(material.folder / 'office').as_uri()}", "--headless",
                       f"--infilter={options}", "--convert-to", "fods", "--outdir", str(out), *sheets]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            for i, file in enumerate(files):
                cells = [
                    cell for cell in xml.parse(out / f"sheet{code}-{i}.fods").iter() if cell.tag.endswith("table-cell")
                ]
                formulas = [cell for cell in cells if any(key.endswith("}formula") for key in cell.attrib)]
                if file == control:
                    found.check(len(formulas) == 1, "the control, a formula, was not seen as one")
                    continue
                found.tried += len(_files(material)[file][1])
                for cell in formulas:
                    found.check(False, f"{file.name}: {cell.attrib}")
        yield found


def loggers(material: Material) -> Iterator[Checked]:
    """One tag or key per layer, in TensorBoard and W&B; text without what cannot be seen."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from alpha_callbacks import read_results

    run = material.training()
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "tensors": 0})
    events.Reload()
    found = Checked("TensorBoard: one tag per layer")
    tags = [tag for tag in events.Tags()["scalars"] if re.match(r"alpha_hill\.", tag) and tag.endswith(".fp32")]
    wanted = sorted(row.alpha for row in read_results(run / "step_00000001") if row.precision == "fp32")
    logged = sorted(event.value for tag in tags for event in events.Scalars(tag) if event.step == 1)
    for i, alpha in enumerate(wanted):
        found.check(
            i < len(logged) and abs(logged[i] - alpha) < 1e-5 * alpha, f"{len(logged)} values of {len(wanted)} layers"
        )
    found.check(len(set(tags)) == len(wanted) and all(re.fullmatch(r"[\w./-]+", tag) for tag in tags), "tags")
    texts = [
        event.tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"] for event in events.Tensors(tag)
    ]
    found.check(all(text.replace("\n", "").isprintable() for text in texts), "texts")
    yield found
    found = Checked("W&B: one key per layer, and its table")
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(material.folder / "wandb")}
    (material.folder / "wandb").mkdir(exist_ok=True)
    import wandb

    from alpha_callbacks import AnalysisOptions, Monitor
    from tests.support.wandb_offline import read_offline_run

    started = wandb.init(project="names")
    with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=["wandb"], output_dir=material.folder / "w") as monitor:
        snapshot = monitor.log(material.model(), 0)
    started.finish()
    written = read_offline_run(material.folder / "wandb")
    keys = {key for row in written.rows for key in row if key.startswith("alpha_hill_layers_fp32")}
    assert snapshot is not None
    found.check(len(keys) == len(snapshot.table), f"{len(keys)} keys of {len(snapshot.table)} layers")
    found.check(all(re.fullmatch(r"[A-Za-z0-9_./]+", key) for key in keys), "keys")
    table = next(row["alpha_hill/table"] for row in written.rows if "alpha_hill/table" in row)
    names = [str(row[1]) for row in written.table(table)["data"]]
    for name in names:
        found.check(name.isprintable(), name)
    found.check(len(set(names)) == len(snapshot.table), "names in the table")
    yield found


def pages(material: Material) -> Iterator[Checked]:
    """Each page in chromium: no script of a name runs, no request, no error, and every character can be seen."""
    from tests.support.pages import close_browser, opened

    material.scans()
    material.run(("history", material.training(), "--no-plots"))
    found = {"scan": "A/report.html", "comparison": "C/compare.html", "history": "run/history.html"}
    for kind, place in found.items():
        checked = Checked(f"page of a {kind}, in chromium")
        files = sorted(material.folder.glob(place)) or sorted((material.folder / place).parent.glob("*.html"))
        html = files[0].read_text(encoding="utf-8")
        ours = re.sub("<script>.*?</script>", "", html, flags=re.DOTALL)  # the data are in scripts with a type
        odd = re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", ours)
        checked.check(not odd, f"in the file: {odd[:3]}")
        checked.tried += len(material.names)
        try:
            with opened(html, material.folder) as page:
                shown = page.text()
                for what in sorted({c for c in shown if not (c.isprintable() or c in "\n\t\xa0\u2009\u202f\u200b")}):
                    checked.check(False, f"U+{ord(what):04X} is shown")
        except AssertionError as error:
            checked.check(False, str(error)[:300])
        yield checked
    close_browser()


def charts(material: Material) -> Iterator[Checked]:
    """One chart per layer, each a well-formed SVG; one file of eigenvalues per layer; no file outside the folders."""
    from alpha_callbacks import open_spectra

    material.scans()
    found = Checked("charts: one file per layer, well-formed")
    files = sorted((material.folder / "A" / "plots" / "individual_layers").glob("*.svg"))
    found.check(len(files) == len(material.names), f"{len(files)} charts of {len(material.names)} layers")
    for file in files:
        try:
            xml.parse(file)
            found.check(len(file.name) < 200 and bool(re.fullmatch(r"[A-Za-z0-9._-]+", file.name)), file.name)
        except xml.ParseError as error:
            found.check(False, f"{file.name}: {error}")
    yield found
    found, kept = Checked("eigenvalues: one file per layer"), open_spectra(material.folder / "A")
    for name in material.names:
        found.check(name in kept and kept[name].layer_name == name, name)
    yield found


def plans(material: Material) -> Iterator[Checked]:
    """plan.json has every name as it is; each export is UTF-8, or refused in one line."""
    material.scans()
    found = Checked("plan.json, run.json")
    plan = json.loads((material.folder / "A" / "plan.json").read_text(encoding="utf-8"))
    told = json.dumps(plan, ensure_ascii=False)
    for name in material.names:
        found.check(json.dumps(name, ensure_ascii=False) in told, name)
    found.check(bool(json.loads((material.folder / "A" / "run.json").read_text(encoding="utf-8"))), "run.json")
    yield found
    found = Checked("exports: written, or refused in one line")
    targets = ("torchao", "compressed-tensors", "gguf", "llm-compressor", "layer-config", "bitsandbytes")
    out = {target: material.folder / f"{target}.txt" for target in targets}
    plan_file = material.folder / "A" / "plan.json"
    codes, text = material.run(*(("export", plan_file, "--format", t, "-o", out[t]) for t in targets), terminal=True)
    for target, code in zip(targets, codes, strict=True):
        found.check(code in (0, 2), f"{target} ends with {code}")
        found.check(code == 2 or bool(out[target].read_text(encoding="utf-8")), target)
    for what in raw(text, material.names):
        found.check(False, what)
    yield found


OUTPUTS: dict[str, Callable[[Material], Iterator[Checked]]] = {
    "terminal": terminal, "csv": csv_files, "libreoffice": libreoffice, "loggers": loggers, "pages": pages,
    "charts": charts, "plans": plans,
}  # fmt: skip


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", nargs="*", choices=[*OUTPUTS, []], help="all by default")
    parser.add_argument("--every", type=int, default=1, help="take each n-th name")
    asked = parser.parse_args()
    names = NAMES[:: asked.every]
    lines = [
        f"{len(names)} names ({len(SURROGATES)} more in live models)",
        f"{'output':44} {'checks':>6} {'failed':>6}",
    ]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), names)
        for output in asked.outputs or OUTPUTS:
            for checked in OUTPUTS[output](material):
                lines.append(checked.line)
                print(lines[-1], flush=True)
    if not asked.outputs and asked.every == 1:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
