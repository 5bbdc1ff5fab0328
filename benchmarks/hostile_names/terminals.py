"""What reaches a terminal, also one whose encoding lacks most of it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from benchmarks.hostile_names.checked import Checked
from benchmarks.hostile_names.material import Material
from benchmarks.hostile_names.names import LIVE_ONLY

_RICH = re.compile(r"\x1b\[[0-9;]*[mAK]|\x1b\[\?25[lh]")  # what rich sends to colour, and to draw a bar again


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
    for name in (*material.names, *LIVE_ONLY):
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
