import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.comparison.comparison import compare
from alpha_callbacks.comparison.comparison_findings import comparison_findings
from alpha_callbacks.comparison.weight_error import relative_error, with_weight_errors
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.table import Table
from alpha_callbacks.weights.weight import Weight
from tests.conftest import noise
from tests.weights.stored_quantization.matrices import OPTIONS, of_file

NAMES = [f"model.layers.{i}.mlp.down_proj" for i in range(3)]


def _weight(matrix: Tensor) -> Weight:
    return Weight("fc", "other", *matrix.shape, matrix.dtype, "float32", lambda start, stop: matrix[start:stop])


def test_error_is_relative_to_the_first() -> None:
    a, b = noise(300, 40), noise(300, 40, seed=1)
    expected = float((b.double() - a.double()).norm() / a.double().norm())
    assert relative_error(_weight(a), _weight(b)) == pytest.approx(expected, rel=1e-12)
    assert relative_error(_weight(a), _weight(a)) == 0
    zeros = torch.zeros(4, 4)
    assert relative_error(_weight(zeros), _weight(zeros)) == 0
    assert relative_error(_weight(zeros), _weight(zeros + 1)) == math.inf


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, dict[str, float]]:
    """A checkpoint, the same in int8 as bitsandbytes stores it, and the error of each layer."""
    base, quantized, errors = dict[str, Tensor](), dict[str, Tensor](), dict[str, float]()
    for i, name in enumerate(NAMES):
        weight = noise(48, 40, seed=i)
        largest = weight.abs().amax(1)
        codes = (weight / largest[:, None] * 127).round().to(torch.int8)
        base[f"{name}.weight"] = weight
        quantized |= {f"{name}.weight": codes, f"{name}.SCB": largest}
        back = codes.float() * largest[:, None] / 127
        errors[name] = float((back.double() - weight.double()).norm() / weight.double().norm())
    folders = (tmp_path / "base", tmp_path / "quantized")
    for folder, tensors in zip(folders, (base, quantized), strict=True):
        folder.mkdir()
        of_file(folder, tensors, {})
    return (*folders, errors)


def _table(folder: Path) -> Table:
    result = scan(
        folder, output_dir=folder / "results", options=OPTIONS, plots=Plots(()), report=False, save_spectra=False
    )
    assert result is not None
    return result.table


def test_what_shipped_is_compared_with_its_source(pair: tuple[Path, Path, dict[str, float]]) -> None:
    base, quantized, errors = pair
    compared = compare(_table(base), _table(quantized))
    assert all(math.isnan(each.relative_error) and math.isnan(each.sqnr_db) for each in compared.pairs)
    measured = with_weight_errors(compared, open_checkpoint(base), open_checkpoint(quantized))
    assert {each.row.layer_name: each.relative_error for each in measured.pairs} == pytest.approx(errors, rel=1e-9)
    for each in measured.pairs:
        assert each.sqnr_db == pytest.approx(-20 * math.log10(errors[each.row.layer_name]))
        assert each.a and each.b and each.delta == each.b.alpha - each.a.alpha
    worst = max(errors, key=lambda name: errors[name])
    assert any("weights themselves differ" in text and worst in text for text in comparison_findings(measured))
    same = with_weight_errors(compare(_table(base), _table(base)), open_checkpoint(base), open_checkpoint(base))
    assert "The weights are the same in 3 layers." in comparison_findings(same)


def test_the_command_shows_it(pair: tuple[Path, Path, dict[str, float]], tmp_path: Path) -> None:
    import csv

    from typer.testing import CliRunner

    from alpha_callbacks.cli.app import app

    base, quantized, errors = pair
    _table(base)
    out = tmp_path / "out"

    def run(a: Path, b: Path) -> tuple[str, list[dict[str, str]]]:
        done = CliRunner().invoke(
            app, ["compare", str(a), str(b), "-o", str(out), "--no-plots"], env={"COLUMNS": "200"}
        )
        assert done.exit_code == 0, (done.output, done.exception)
        with (out / "comparison.csv").open(newline="") as file:
            return done.output, list(csv.DictReader(file))

    printed, lines = run(base / "results", quantized)  # results whose checkpoint is still there
    assert {line["layer_name"]: float(line["relative_error"]) for line in lines} == pytest.approx(errors, rel=1e-9)
    assert "Largest relative errors of the weights" in printed and all(float(line["sqnr_db"]) > 30 for line in lines)
    (base / "model.safetensors").unlink()
    printed, lines = run(base / "results", quantized)
    assert "The error of the weights needs both checkpoints" in printed
    assert [line["relative_error"] for line in lines] == ["", "", ""]
