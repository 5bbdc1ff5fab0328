"""What stands in CSV files, read by pandas, csv and LibreOffice."""

import csv
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path

from benchmarks.hostile_names.checked import Checked
from benchmarks.hostile_names.material import Material
from benchmarks.hostile_names.names import LIVE_ONLY


def _documented(cell: str) -> str:
    """Undo what docs/foreign_text.md says of cells, written anew from that page."""
    cell = re.sub("((?:^|;) *)'('*[=+@\uff0b\uff0d\uff1d\uff20-])", r"\1\2", cell)
    parts = re.split(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", cell)
    parts[1::2] = ["\\" if part == "\\" else chr(int(part[1:], 16)) for part in parts[1::2]]
    return "".join(parts)


def _files(material: Material) -> dict[Path, tuple[str, set[str]]]:
    """Return CSV file -> column of names, and the names that must be there."""
    material.scans()
    run, live = material.training(), {str(name).replace(".", "\u2024") for name in (*material.names, *LIVE_ONLY)}
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
