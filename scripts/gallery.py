"""Make the pictures of docs/gallery.md: scan, plan, run and comparison, then the pages in a browser and the cards.

What is in WORK already is not computed again, so that one picture can be made anew: remove WORK/scan to have chart
files of newer code. Needs chromium, the extra `test`, and pypdfium2 for the printed page; about five minutes on two
cores::

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    git worktree add BEFORE 2e633df
    python -m scripts.gallery MODEL WORK --before BEFORE   # MODEL: the folder that was just made; ten minutes
    python -m scripts.gallery MODEL WORK

The first of them makes the pictures of an earlier version from the same inputs. It trains the run that both read;
without it the second one does.

`--only plan --only map_error` makes these pictures alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from scripts.gallery_shots import BEFORE_CARDS, BEFORE_FILES, BEFORE_SHOTS, CARDS, FILES, SHOTS, WIDE, Shot

HERE = Path(__file__).resolve().parents[1]
PICTURES = HERE / "docs" / "images" / "gallery"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-gpu-watchdog")
_COLORS = 256
# Charts are drawn when they come into view.
_SCROLL = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    window.scrollTo({top: y, behavior: "instant"});
    await new Promise(done => setTimeout(done, 250));
  }
}"""


@dataclass(frozen=True)
class Version:
    """The code that makes the pictures, where its results are, and what is shown of them."""

    code: Path
    work: Path
    shots: Mapping[str, Shot]
    cards: Mapping[str, str]
    files: Mapping[str, str]

    def run(self, *words: str) -> None:
        """Run Python with this code."""
        path = os.pathsep.join([str(self.code), str(self.code / "integrations")])
        environment = os.environ | {"PYTHONPATH": path}
        # In its own folder, for `-m` looks there first.
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=self.code)

    def alpha_hill(self, *words: str) -> None:
        """Run a command of this code."""
        self.run("-m", "alpha_callbacks", *words)

    @property
    def names(self) -> list[str]:
        """Return the names of the pictures."""
        return [*self.shots, *self.cards, *self.files]


def main() -> None:
    """Compute what is missing, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint folder; the page was made of SmolLM2-135M")
    parser.add_argument("work", type=Path, help="folder for results, kept for the next time")
    parser.add_argument("--before", type=Path, help="a checkout of the earlier version, whose pictures are made")
    names = [*SHOTS, *CARDS, *FILES, *BEFORE_SHOTS, *BEFORE_CARDS, *BEFORE_FILES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a picture; may be repeated")
    options = parser.parse_args()
    work = options.work.resolve()
    version = Version(HERE, work, SHOTS, CARDS, FILES)
    if options.before:
        version = Version(options.before.resolve(), work / "before", BEFORE_SHOTS, BEFORE_CARDS, BEFORE_FILES)
    if strange := [name for name in options.only or () if name not in version.names]:
        why = "not a picture of the earlier version" if options.before else "needs --before"
        parser.error(f"{', '.join(strange)}: {why}")
    version.work.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    compute(options.model.resolve(), version)
    draw(version, set(options.only or version.names))
    print(f"{sum(path.stat().st_size for path in PICTURES.iterdir()) / 1e6:.2f} MB in {PICTURES}")


def compute(model: Path, version: Version) -> None:
    """Scan, plan and compare the model, and train the embedded one from scratch, where results are missing."""
    work = version.work
    scan, run = str(work / "scan"), (work.parent if version.shots is BEFORE_SHOTS else work) / "run"
    if not (work / "scan" / "plan.json").exists():
        version.alpha_hill("scan", str(model), "--precisions", "fp32,bf16,int8,int4", "--output-dir", scan)
        plan = ("--export-config", f"{scan}/plan.json") if version.shots is BEFORE_SHOTS else ()  # now the default
        version.alpha_hill("recommend", scan, "--avg-bits", "5", *plan)
    version.alpha_hill("report", scan)
    compared = str(work / "compare")
    version.alpha_hill("compare", scan, "--precisions", "fp32,int4", "--no-plots", "--output-dir", compared)
    if not run.exists():
        version.run(str(HERE / "scripts" / "gallery_inputs.py"), "train", str(run))
    version.alpha_hill("history", str(run), "--no-plots", "--output-dir", str(work / "history"))


def draw(version: Version, wanted: set[str]) -> None:
    """Write the wanted pictures."""
    with browser() as open_page:
        for name in version.shots:
            if name in wanted:
                draw_page(open_page, version, name)
    cards = version.work / "cards"
    if wanted & set(version.cards):
        version.run(str(HERE / "scripts" / "gallery_inputs.py"), "cards", str(version.work / "scan"), str(cards))
    files = {name: version.work / "scan" / "plots" / f"{file}.png" for name, file in version.files.items()}
    for name, path in ({name: cards / f"{card}.png" for name, card in version.cards.items()} | files).items():
        if name in wanted:
            keep(Image.open(path), name)


def draw_page(open_page: Callable[[Shot], Any], version: Version, name: str) -> None:
    """Write the picture of one page."""
    shot = version.shots[name]
    page = open_page(shot)
    page.goto((version.work / shot.page).resolve().as_uri() + shot.address)
    page.wait_for_timeout(1500)
    if shot.script:
        page.evaluate(shot.script)
    raw = version.work / f"{name}.png"
    if shot.sheets:
        page.pdf(path=str(raw.with_suffix(".pdf")), format="A4")
        keep(tile(raw.with_suffix(".pdf"), shot.sheets), name)
        return
    if shot.part:
        page.evaluate(_SCROLL)
        page.evaluate("document.querySelector('.contents').style.position = 'static'")  # it would cover what is shown
    element = page.locator(shot.part).first if shot.part else page
    element.screenshot(path=str(raw))
    picture = Image.open(raw)
    keep(picture.crop((0, 0, picture.width, min(picture.height, shot.most))), name)
    page.close()


def tile(printed: Path, most: int) -> Image.Image:
    """Return the first sheets of a PDF file side by side, four in a row."""
    document = import_module("pypdfium2").PdfDocument(str(printed))
    sheets = [document[i].render(scale=0.5).to_pil().convert("RGB") for i in range(min(most, len(document)))]
    width, height = sheets[0].width + 6, sheets[0].height + 6
    picture = Image.new("RGB", (width * min(4, len(sheets)), height * -(-len(sheets) // 4)), "white")
    for i, sheet in enumerate(sheets):
        picture.paste(ImageOps.expand(sheet, 1, "#888888"), (i % 4 * width, i // 4 * height))
    return picture


def keep(picture: Image.Image, name: str) -> None:
    """Write a picture into the docs, small: charts and text have few colours."""
    width = min(picture.width, WIDE)
    picture = picture.convert("RGB").resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
    picture.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        PICTURES / f"{name}.png", optimize=True
    )
    print(name, picture.size, flush=True)


@contextmanager
def browser() -> Iterator[Callable[[Shot], Any]]:
    """Yield what opens an empty page for a shot."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(_FLAGS))
        yield lambda shot: chromium.new_page(
            viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.theme
        )
        chromium.close()


if __name__ == "__main__":
    main()
