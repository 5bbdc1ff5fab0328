"""Make the pictures of docs/gallery.md: scan, plan, run and comparison, then the pages in a browser and the cards.

What is there already is not computed again, so that one picture can be made anew. Needs chromium and the extra
`test`; about five minutes on two cores::

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    python -m scripts.gallery MODEL WORK         # MODEL: the folder that was just made

`--only plan --only map` makes these pictures alone.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images" / "gallery"
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-gpu-watchdog")
_COLORS, _WIDE = 256, 1200
# Charts are drawn when they come into view.
_SCROLL = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    window.scrollTo({top: y, behavior: "instant"});
    await new Promise(done => setTimeout(done, 250));
  }
}"""


@dataclass(frozen=True)
class Shot:
    """One picture of a page.

    Attributes:
        page: its path in the work folder.
        address: what follows it, such as "#layer=lm_head".
        part: the element that is shown; "" is the window.
        width: of the window, in pixels.
        height: at most, in pixels.
        theme: its colours.
    """

    page: str
    address: str = ""
    part: str = ""
    width: int = _WIDE
    height: int = 900
    theme: Literal["light", "dark"] = "light"


SHOTS = {
    "plan": Shot("scan/report.html", part="#plan", height=1280),
    "findings": Shot("scan/report.html", part="#findings"),
    "map_error": Shot("scan/report.html", part="#map"),
    "map_noise": Shot("scan/report.html", "#v=ratio", "#map"),
    "formats": Shot("scan/report.html", part="#formats", height=560),
    "panel": Shot(
        "scan/report.html", "#layer=model.layers.0.self_attn.k_proj&p=int4", "#panel", width=700, height=1180
    ),
    "phone": Shot("scan/report.html", "#map", width=400, height=800),
    "dark": Shot("scan/report.html", "#map", part="#map", theme="dark"),
    "compare": Shot("compare/compare.html", part="#where", height=620),
    "compare_sides": Shot("compare/compare.html", part="#alphas", height=680),
    "history_map": Shot("history/history.html", part="#map", height=760),
    "history_lines": Shot("history/history.html", part="#lines", height=1000),
}
CARDS = ("heat_relative_error", "heat_alpha_ratio", "bars_attn_v", "bars_lm_head")
FILES = {"file_map": "heatmap_relative_error_int4_g32", "file_category": "category_mlp_down"}


def main() -> None:
    """Compute what is missing, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint folder; the page was made of SmolLM2-135M")
    parser.add_argument("work", type=Path, help="folder for results, kept for the next time")
    names = [*SHOTS, *CARDS, *FILES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a picture; may be repeated")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    compute(options.model, options.work)
    wanted = set(options.only or names)
    with browser() as open_page:
        for name in SHOTS:
            if name in wanted:
                draw_page(open_page, options.work, name)
    draw_cards_of(options.work, [name for name in CARDS if name in wanted])
    for name, file in FILES.items():
        if name in wanted:
            keep(Image.open(options.work / "scan" / "plots" / f"{file}.png"), name)
    print(f"{sum(path.stat().st_size for path in PICTURES.iterdir()) / 1e6:.2f} MB in {PICTURES}")


def compute(model: Path, work: Path) -> None:
    """Scan, plan and compare the model, and train the embedded one from scratch, where results are missing."""
    scan, run = str(work / "scan"), work / "run"
    if not (work / "scan" / "plan.json").exists():
        _alpha_hill("scan", str(model), "--precisions", "fp32,bf16,int8,int4", "--output-dir", scan)
        _alpha_hill("recommend", scan, "--avg-bits", "5")
    _alpha_hill("report", scan)
    _alpha_hill("compare", scan, "--precisions", "fp32,int4", "--no-plots", "--output-dir", str(work / "compare"))
    if not run.exists():
        train(run)
    _alpha_hill("history", str(run), "--no-plots", "--output-dir", str(work / "history"))


def train(folder: Path) -> None:
    """Train the architecture of the embedded model from scratch for 60 states on the text of the examples."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    import corpus
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    from alpha_callbacks import AlphaHillTrainerCallback
    from alpha_callbacks.checkpoints.locate import EMBEDDED

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(EMBEDDED))
    text = corpus.blocks(torch.tensor(tokenizer(corpus.read(), verbose=False)["input_ids"]), 64)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=236, save_strategy="no", logging_steps=4, learning_rate=2e-3,
        per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(EMBEDDED))),
        args=arguments,
        train_dataset=[{"input_ids": block, "labels": block} for block in text],
        callbacks=[AlphaHillTrainerCallback(every=4, precisions="fp32", images=False)],
    )
    trainer.train()
    trainer.save_state()  # with the loss, which the page shows


def draw_page(open_page: Callable[[Shot], Any], work: Path, name: str) -> None:
    """Write the picture of one page."""
    shot = SHOTS[name]
    page = open_page(shot)
    page.goto((work / shot.page).resolve().as_uri() + shot.address)
    page.wait_for_timeout(1500)
    if shot.part:
        page.evaluate(_SCROLL)
    page.evaluate("document.querySelector('.contents').style.position = 'static'")  # it would cover what is shown
    element = page.locator(shot.part).first if shot.part else page
    raw = work / f"{name}.png"
    element.screenshot(path=str(raw))
    picture = Image.open(raw)
    keep(picture.crop((0, 0, picture.width, min(picture.height, shot.height))), name)
    page.close()


def draw_cards_of(work: Path, names: list[str]) -> None:
    """Write the cards that TensorBoard and W&B would get if the scanned model were a state of a run."""
    from alpha_callbacks.plots.cards.draw_cards import draw_cards
    from alpha_callbacks.tables.read_results import read_results

    cards = draw_cards(read_results(work / "scan"), title="step 1000") if names else {}
    for name in names:
        keep(Image.fromarray(cards[name]), name)


def keep(picture: Image.Image, name: str) -> None:
    """Write a picture into the docs, small: charts and text have few colours."""
    width = min(picture.width, _WIDE)
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


def _alpha_hill(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "alpha_callbacks", *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
