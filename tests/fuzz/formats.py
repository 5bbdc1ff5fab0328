"""What is attacked: each format, the sound files beside the damaged one, and what reads them in a command."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.open_base import open_base
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.results_csv import write_coverage, write_results
from alpha_callbacks.tables.table import Table
from tests.fuzz.make_corpus import CORPUS

OPTIONS = AnalysisOptions(precisions=("fp32",))


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        file: name that the damaged file gets.
        read: reads a folder with it; returns whether all rows are ok.
        beside: name of a file beside it -> its place in the corpus; `{seed}` stands for the name of the seed.
    """

    file: str
    read: Callable[[Path], bool]
    beside: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, folder: Path, seed: str) -> None:
        """Write the sound files."""
        for name, place in self.beside.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((CORPUS / place.format(seed=seed)).read_bytes())


def seeds(name: str) -> dict[str, bytes]:
    """Return the sound files of a format, and what once fell."""
    return {file.name: file.read_bytes() for file in sorted((CORPUS / name).iterdir())}


def scan_of(path: Path) -> bool:
    """Do what a scan does, all of it but the journal, the charts and the report."""
    checkpoint = open_checkpoint(path)
    open_base(checkpoint, None, download=False)
    fingerprint(checkpoint)
    inventory = checkpoint.inventory(OPTIONS)
    rows = [row for weight in inventory.weights for row in analyze_weight(weight, OPTIONS)]
    folder = path if path.is_dir() else path.parent
    write_coverage(inventory, folder / "out" / "coverage.csv")
    write_results(Table.from_rows(rows, OPTIONS.precisions), folder / "out" / "results.csv")
    return all(row.ok for row in rows)


def _scan_of(name: str = "") -> Callable[[Path], bool]:
    return lambda folder: scan_of(folder / name if name else folder)


def _results(folder: Path) -> bool:
    """Read results as `report`, `compare` and `recommend` do."""
    from alpha_callbacks.comparison.comparison import compare
    from alpha_callbacks.errors import PlanError
    from alpha_callbacks.planning.recommend import recommend
    from alpha_callbacks.report import page_shell
    from alpha_callbacks.report.compare_page import compare_page
    from alpha_callbacks.report.scan_page import report_html
    from alpha_callbacks.tables.results_folder import ResultsFolder

    table = ResultsFolder(folder).table
    with patch.object(page_shell, "_plotly", lambda: ""):  # 5 MB in each page
        assert table.html() and report_html(folder, table)
    with suppress(PlanError):
        recommend(table)
    compare_page(compare(table, table))
    return all(row.ok for row in table)


def _spectra(folder: Path) -> bool:
    from alpha_callbacks.tables.spectra_files import LayerSpectra

    for evals in LayerSpectra(folder / "layer.npz").values():
        assert evals.ndim == 1 and str(evals.dtype) == "torch.float64"
    return True


def _journal(folder: Path) -> bool:
    from alpha_callbacks.scanning.journal import read_journal

    own, results = read_journal(folder)
    rows = [row for result in results.values() for row in result.rows]
    if own is not None and rows:
        write_results(Table.from_rows(rows, tuple(own["options"]["precisions"])), folder / "out.csv")
    return bool(rows)


def _plan(folder: Path) -> bool:
    from alpha_callbacks.cli.plan_files import plan_for
    from alpha_callbacks.errors import PlanError
    from alpha_callbacks.planning.export_plan import export_plan

    plan = plan_for(str(folder), folder / "plan.json")
    for target in ("plan", "torchao"):
        with suppress(PlanError):
            export_plan(plan, target)
    return True


def _history(folder: Path) -> bool:
    from alpha_callbacks.comparison.history_findings import failed
    from alpha_callbacks.comparison.read_history import read_history
    from alpha_callbacks.report.history_page import history_page

    run = read_history(folder)
    assert history_page(run)
    return not failed(run)


_WEIGHTS = "model.safetensors"
_RESULTS = {
    "precision_alpha_hill_results.csv": "results_csv/scan",
    "coverage.csv": "coverage_csv/scan",
    "run.json": "run_json/scan",
}
FORMATS: Mapping[str, Format] = {
    "safetensors": Format(_WEIGHTS, _scan_of(_WEIGHTS)),
    "torch_zip": Format("model.pt", _scan_of("model.pt")),
    "torch_legacy": Format("model.bin", _scan_of("model.bin")),
    "dcp": Format(".metadata", _scan_of(), {"__0_0.distcp": "dcp_data/data"}),
    "dcp_data": Format("__0_0.distcp", _scan_of(), {".metadata": "dcp/metadata"}),
    "hf_shards": Format("shard-00001-model-00001-of-00001.safetensors", _scan_of()),
    "gguf": Format("model.gguf", _scan_of("model.gguf")),
    "index_json": Format("model.safetensors.index.json", _scan_of(), {"s.safetensors": "safetensors/plain"}),
    "config_json": Format("config.json", _scan_of(), {_WEIGHTS: "safetensors/fused"}),
    "quantization_config": Format("config.json", _scan_of(), {_WEIGHTS: "stored_codes/{seed}"}),
    "stored_codes": Format(_WEIGHTS, _scan_of(), {"config.json": "quantization_config/{seed}"}),
    "adapter_config": Format("adapter_config.json", _scan_of(), {"adapter_model.safetensors": "adapter_weights/lora"}),
    "adapter_weights": Format("adapter_model.safetensors", _scan_of(), {"adapter_config.json": "adapter_config/lora"}),
    "model_index": Format("model_index.json", _scan_of(), {f"unet/{_WEIGHTS}": "safetensors/plain"}),
    "modules": Format(
        "modules.json", _scan_of(), {_WEIGHTS: "safetensors/plain", f"1_Dense/{_WEIGHTS}": "safetensors/fused"}
    ),
    "results_csv": Format("precision_alpha_hill_results.csv", _results, _RESULTS),
    "coverage_csv": Format("coverage.csv", _results, _RESULTS),
    "run_json": Format("run.json", _results, _RESULTS),
    "spectra": Format("layer.npz", _spectra),
    "journal": Format("rank-0.jsonl", _journal),
    "plan_json": Format("plan.json", _plan),
    "history_csv": Format("alpha_hill_history.csv", _history),
}
