"""The report of a model with the shapes of Llama 3.1 8B at six precisions: time to build, size, time to interactive.

    python -m benchmarks.report                 # a minute; needs chromium for the last figures
    python -m benchmarks.report --keep out      # leave report.html and its folder in out/
    python -m benchmarks.report --results DIR   # of a scan: rebuilds its report there

The spectra are made up (noise with a power-law tail, another draw for each precision), so that no two decompositions
are shared and every curve is in the page: more than a real scan of bf16 weights has.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alpha_callbacks.estimators.hill import hill_alpha
from alpha_callbacks.estimators.marchenko_pastur import alpha_null
from alpha_callbacks.report.scan_page import write_report
from alpha_callbacks.tables.read_results import read_results
from alpha_callbacks.tables.spectra_files import FOLDER, open_spectra, write_spectra
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.utils.machine import cpu_threads
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.layer_names import block_index

PRECISIONS = ("fp32", "bf16", "fp8_e4m3", "int8", "int4_g32", "nf4")
ERRORS = dict(zip(PRECISIONS, (0.0, 1.6e-3, 2.6e-2, 8e-3, 9.8e-2, 9.2e-2), strict=True))
SHAPES = {
    "self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (1024, 4096), "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (14336, 4096), "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}  # fmt: skip


def made_up(folder: Path, *, blocks: int = 32, shrink: int = 1) -> Table:
    """Return a table of 7 layers a block and lm_head at `PRECISIONS`, and write its spectra into a results folder.

    Args:
        folder: where spectra/ goes.
        blocks: how many.
        shrink: divide both sides of every shape by it.
    """
    generator = np.random.default_rng(0)
    shapes = {f"model.layers.{i}.{part}": shape for i in range(blocks) for part, shape in SHAPES.items()}
    rows: list[Row] = []
    for name, (out, into) in {**shapes, "lm_head": (128256, 4096)}.items():
        rows += _layer(folder, name, out // shrink, into // shrink, generator)
    return Table.from_rows(rows, PRECISIONS, "Llama-3.1-8B (made up)")


def _layer(folder: Path, name: str, out: int, into: int, generator: np.random.Generator) -> Iterator[Row]:
    n = min(out, into)
    k = max(10, n // 10)
    tail, null = generator.uniform(1.5, 6), alpha_null(out, into, k)
    bulk = generator.uniform(0.01, 1, n - k)
    spectra = {}
    for i, precision in enumerate(PRECISIONS):
        evals = np.sort(np.concatenate([bulk, 1 + generator.pareto(tail - 1, k)]))[::-1] * (1 + 1e-3 * i)
        spectra[precision] = torch.from_numpy(evals.copy())
        fit = hill_alpha(spectra[precision], k=k)
        yield Row(
            name, categorize(name), block_index(name), out, into, "bfloat16", "", precision, "ok", alpha=fit.alpha,
            alpha_null=null, k_used=k, n_eigs=n, method="computed", solver="gram_fp64", x_min=fit.x_min,
            stderr=fit.stderr, ks_distance=fit.ks_distance, spectral_norm=float(evals[0]) ** 0.5,
            frobenius_norm=float(evals.sum()) ** 0.5, relative_error=ERRORS[precision], effective_bits=8.0,
        )  # fmt: skip
    write_spectra(folder / FOLDER, name, spectra)


def _writing(folder: Path) -> float:
    """Return the seconds that a scan spends on keeping these spectra."""
    spectra = {name: dict(layer) for name, layer in open_spectra(folder).items()}
    start = time.perf_counter()
    for name, of_layer in spectra.items():
        write_spectra(folder / FOLDER, name, of_layer)
    return time.perf_counter() - start


def in_browser(page: Path, repeat: int) -> dict[str, float]:
    """Return medians in ms: from the opening of the page, then from a click to what it shows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = [_visit(browser, page) for _ in range(repeat)]
        browser.close()
    return {what: statistics.median(times[what] for times in found) for what in found[0]}


def _visit(browser: Any, page: Path) -> dict[str, float]:
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready]")
    times = dict(
        tab.evaluate(
            """({
              "first paint": performance.getEntriesByType("paint")[0].startTime,
              "map and table can be used": Number(document.documentElement.dataset.ready),
              "all scripts done": performance.now(),
            })"""
        )
    )
    times |= tab.evaluate(
        """async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
          const cells = document.querySelectorAll("#heat .cell");
          const cell = cells[Math.floor(cells.length / 2)];
          let start = performance.now();
          cell.click();
          while (!document.querySelector("#panel .js-plotly-plot .trace")) await frame();
          const panel = performance.now() - start;
          start = performance.now();
          document.querySelector("#panel [aria-label='Next layer']").click();
          await frame();
          const next = performance.now() - start;
          start = performance.now();
          AH.view.set({metric: "relative_error", precision: 2});
          await frame();
          const other = performance.now() - start;
          return {"panel after a click": panel, "next layer": next, "another metric and precision": other};
        }"""
    )
    tab.close()
    return dict(times)


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    parser.add_argument(
        "--results", type=Path, help="results folder of a scan, with spectra/, in place of made-up ones"
    )
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.results or options.keep or Path(temporary)
        table = read_results(folder) if options.results else made_up(folder)
        writing = _writing(folder)
        times = []
        for _ in range(options.repeat):
            start = time.perf_counter()
            page = write_report(folder, table)
            times.append(time.perf_counter() - start)
        kept = sum(file.stat().st_size for file in (folder / FOLDER).iterdir())
        print(f"{len(table)} layers x {len(table.precisions)} precisions, {cpu_threads()} threads")
        print(f"spectra on disk        {kept / 1e6:6.1f} MB  (written, each layer to the disk, in {writing:.2f} s)")
        print(f"report.html            {page.stat().st_size / 1e6:6.2f} MB")
        print(f"built in               {statistics.median(times):6.2f} s  (first {times[0]:.2f} s)")
        if shutil.which("chromium"):
            for what, milliseconds in in_browser(page, options.repeat).items():
                print(f"{what:<30} {milliseconds:6.0f} ms")
        else:
            print("no chromium: not opened")


if __name__ == "__main__":
    main()
