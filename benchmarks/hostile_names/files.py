"""What stands in pages, charts, plans and exports."""

import json
import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator

from benchmarks.hostile_names.checked import Checked
from benchmarks.hostile_names.material import Material
from benchmarks.hostile_names.terminals import raw


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
            with opened(html) as page:
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
