"""`alpha-hill compare` and `alpha-hill history` from end to end, on tiny inputs."""

import csv
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from alpha_callbacks import AnalysisOptions, Plots, scan
from alpha_callbacks.cli.app import app
from alpha_callbacks.comparison.inputs import source_name
from alpha_callbacks.errors import AlphaCallbacksError, CheckpointError, OptionError, ResultsError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host
from alpha_callbacks.tables.further_csv import write_further
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.results_csv import RESULTS, write_results
from alpha_callbacks.tables.table import Table
from tests.conftest import noise
from tests.support.rows import row, snapshot, table


def command(*arguments: object, code: int = 0) -> str:
    done: Result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if isinstance(done.exception, AlphaCallbacksError):
        raise done.exception
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scanned(folder: Path, of: Table, **options: object) -> Path:
    write_results(of, folder / RESULTS)
    if options:
        (folder / "run.json").write_text(json.dumps({"options": options}))
    return folder


@pytest.fixture
def checkpoints(tiny_checkpoint: Callable[..., Path]) -> tuple[Path, Path]:
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(3)]
    weights = {name: noise(48, 40, seed=i) for i, name in enumerate(names)}
    moved = {name: weight * (1 + torch.linspace(0, 0.2, 48)[:, None]) for name, weight in weights.items()}
    return tiny_checkpoint(weights, name="base"), tiny_checkpoint(moved, name="tuned")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three measured states, as the callback leaves it."""
    folder = tmp_path / "run" / "alpha_hill"
    sink = CsvSink(Host(output_dir=folder))
    for step in (0, 1000, 20000):
        sink.log(snapshot(step))
    return folder


def test_two_scans(tmp_path: Path) -> None:
    a, b = scanned(tmp_path / "a", table()), scanned(tmp_path / "b", table(shift=0.5))
    shown = command("compare", a, b / RESULTS, "-o", tmp_path / "out", "--plot-format", "svg")
    assert "4 layers compared: model.layers.0.self_attn.q_proj (2.0000 to 2.5000, +0.5)" in shown
    assert "A: a, fp32" in shown
    assert [line["delta"] for line in lines(tmp_path / "out")] == ["0.5"] * 4
    assert {path.suffix for path in (tmp_path / "out" / "plots").iterdir()} == {".svg"}
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<h1>a and b</h1>" in page
    command("compare", a, b, "-o", tmp_path / "bare", "--no-plots", "--precision", "bf16", "--filter-layers", "mlp")
    assert not (tmp_path / "bare" / "plots").exists()
    (line,) = lines(tmp_path / "bare")
    assert (line["precision_a"], line["category"]) == ("bf16", "mlp_up")


def test_what_could_not_be_compared_is_code_1(tmp_path: Path) -> None:
    whole = table(precisions=("fp32",))
    lost = [replace(r, status="degenerate", alpha=math.nan) if r.block else r for r in whole]
    failed = Table.from_rows(lost, ("fp32",))
    a, b = scanned(tmp_path / "a", table()), scanned(tmp_path / "b", failed)
    shown = command("compare", a, b, "-o", tmp_path / "out", "--no-plots", code=1)
    assert "Layers that are not compared" in shown and "b: degenerate" in shown
    some = Table(failed.layers[:1], ("fp32",))
    assert "only in a" in command("compare", a, scanned(tmp_path / "c", some), "-o", tmp_path / "o", code=1)


def test_two_precisions_of_one_scan(tmp_path: Path) -> None:
    a = scanned(tmp_path / "a", table())
    assert "A: fp32, fp32" in command("compare", a, "-o", tmp_path / "two", "--no-plots")  # it has two
    precisions, fits = ("fp32", "fp16", "bf16"), (TailEstimate("half", 2.5, 20),)
    rows = [replace(each, estimates=fits) for each in table(precisions=precisions)]
    whole = Table.from_rows(rows, precisions)
    three = scanned(tmp_path / "b", whole)
    write_further(whole, three)
    command("compare", three, "-p", "fp16,bf16", "-o", tmp_path / "out", "--no-plots")
    assert {line["precision_b"] for line in lines(tmp_path / "out")} == {"bf16"}
    assert {line["half_delta"] for line in lines(tmp_path / "out")} == {"0"}
    with pytest.raises(OptionError, match=r"expected something to compare with: a second argument, or two of its"):
        command("compare", three, "-o", tmp_path / "out")


def test_two_checkpoints_are_scanned_first_and_only_once(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command("compare", *checkpoints, "-o", out, "--no-plots")
    found = lines(out)
    assert len(found) == 3 and all(float(line["delta"]) != 0 for line in found)
    assert {line["precision_a"] for line in found} == {"fp32"}
    for side, path in zip("ab", checkpoints, strict=True):
        options = AnalysisOptions(precisions=("fp32",))
        alone = scan(path, output_dir=tmp_path / side, options=options, plots=Plots(()), report=False)
        assert alone is not None
        expected = [layer.first.alpha for layer in alone.table.layers]
        assert [float(line[f"alpha_{side}"]) for line in found] == pytest.approx(expected, rel=1e-11)
    analysed = list[int]()
    monkeypatch.setattr("alpha_callbacks.cli.progress.ScanProgress.finished", lambda self, result: analysed.append(1))
    command("compare", *checkpoints, "-o", out, "--no-plots")
    assert not analysed
    command("compare", *checkpoints, "-o", out, "--no-plots", "--k-frac", "0.5")  # another tail, another scan
    assert len(analysed) == 6


def test_a_changed_checkpoint_is_scanned_anew(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    out, (base, tuned) = tmp_path / "out", checkpoints
    command("compare", base, tuned, "-o", out, "--no-plots")
    for file in tuned.glob("*.safetensors"):
        shutil.copy(base / file.name, file)
        os.utime(file, (1, 1))
    command("compare", base, tuned, "-o", out, "--no-plots")
    assert {float(line["delta"]) for line in lines(out)} == {0.0}


def test_a_checkpoint_is_scanned_as_the_other_side_was(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = checkpoints
    options = AnalysisOptions(precisions=("bf16",), k_frac=0.4, threshold="last", estimators=("half",))
    scan(base, output_dir=tmp_path / "scan", options=options, plots=Plots(()), report=False)
    command("compare", tmp_path / "scan", tuned, "-o", tmp_path / "out", "--no-plots")
    found = lines(tmp_path / "out")
    assert {(line["precision_b"], line["k_used_b"], line["threshold_b"]) for line in found} == {("bf16", "16", "last")}
    assert all(float(line["half_alpha_b"]) > 1 for line in found)


@pytest.mark.parametrize("what", ["folder", "file", "run"])
def test_two_steps_of_a_run(run: Path, tmp_path: Path, what: str) -> None:
    source = {"folder": run, "file": run / HISTORY, "run": run.parent}[what]
    shown = command("compare", source, "-o", tmp_path / "out", "--no-plots")
    assert "A: step 0, fp32" in shown and "B: step 20000, fp32" in shown
    assert {line["delta"] for line in lines(tmp_path / "out")} == {"20"}
    assert lines(tmp_path / "out")[0]["out_features_a"] == "64"  # from the step's own results
    assert "<h1>run: step 0 and step 20000</h1>" in (tmp_path / "out" / "compare.html").read_text()
    command("compare", source, "--steps", "1000,0", "-o", tmp_path / "out", "--no-plots", "-p", "bf16")
    assert {line["delta"] for line in lines(tmp_path / "out")} == {"-1"}


def test_a_history_without_the_folders_of_its_steps(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / HISTORY, tmp_path / HISTORY)
    command("compare", tmp_path / HISTORY, "-o", tmp_path / "out", "--no-plots")
    assert {(line["delta"], line["out_features_a"]) for line in lines(tmp_path / "out")} == {("20", "")}


def test_a_scan_against_a_run(run: Path, tmp_path: Path) -> None:
    a = scanned(tmp_path / "a", table())
    assert "B: run, step 20000" in command("compare", a, run, "-o", tmp_path / "out", "--no-plots")
    assert "B: run, step 1000" in command("compare", a, run, "--steps", "1000", "-o", tmp_path / "out", "--no-plots")


def test_sides_of_one_name_are_told_apart(tmp_path: Path) -> None:
    a, b = scanned(tmp_path / "x" / "same", table()), scanned(tmp_path / "y" / "same", table())
    shown = command("compare", a, b, "-o", tmp_path / "out", "--no-plots")
    assert "A: x/same" in shown and "B: y/same" in shown


def test_other_options_are_refused(tmp_path: Path) -> None:
    a = scanned(tmp_path / "a", table(), k_frac=0.1, k_min=10, threshold="next")
    b = scanned(tmp_path / "b", table(), k_frac=0.2, k_min=10, threshold="next")
    with pytest.raises(OptionError, match=r"k_frac: expected the same for both scans, got 0.1 in .* and 0.2 in"):
        command("compare", a, b, "-o", tmp_path / "out")
    last = Table.from_rows([replace(r, threshold="last") for r in table()], table().precisions)
    with pytest.raises(OptionError, match=r"expected alphas of the same tail, got k = 10, threshold next in a and"):
        command("compare", a, scanned(tmp_path / "c", last), "-o", tmp_path / "out")


def test_wrong_usage(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    a, out = scanned(tmp_path / "a", table()), ("-o", tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong: list[tuple[type[Exception], str, list[object]]] = [
        (OptionError, "nowhere: expected a second argument, or a path", ["nowhere"]),
        (OptionError, "expected a second argument, results of a scan", [empty]),
        (CheckpointError, "nowhere/at/all: expected a file, a folder", [a, "nowhere/at/all"]),
        (ResultsError, "expected the results of `alpha-hill scan`", [a, tmp_path / "missing.csv"]),
        (OptionError, "precisions: expected one, or one for A and one for B", [a, a, "-p", "fp32,fp16,bf16"]),
        (OptionError, "expected two different steps to compare", [run, "--steps", "1000"]),
        (OptionError, r"expected a measured step \(0, 1000, 20000\), got 5", [run, "--steps", "0,5"]),
        (OptionError, "steps: expected a training history", [a, a, "--steps", "0,5"]),
        (OptionError, "expected layers that match 'nothing', got none", [a, a, "--filter-layers", "nothing"]),
        (OptionError, "expected layers in it once '.' is excluded, got none", [a, a, "--exclude-layers", "."]),
    ]
    for error, message, arguments in wrong:
        with pytest.raises(error, match=message):
            command("compare", *arguments, *out)


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scanned(tmp_path / "a", table())
    scanned(tmp_path / "b", table())
    assert "Written to results/a--vs--b" in command("compare", "a", "b", "--no-plots")
    assert "Written to results/a--compared" in command("compare", "a", "--no-plots")
    assert source_name("org/model-7B") == "org/model-7B"


def test_a_damaged_run_json_does_not_count_as_absent(tmp_path: Path) -> None:
    a, b = scanned(tmp_path / "a", table(), k_frac=0.1), scanned(tmp_path / "b", table(), k_frac=0.2)
    (b / "run.json").write_text('{"options": ')  # else alphas of two tails would be compared
    with pytest.raises(ResultsError, match=r"b/run.json: expected a JSON object, got .* Scan again, or remove"):
        command("compare", a, b, "-o", tmp_path / "out")
    with pytest.raises(ResultsError, match="b/run.json: expected a JSON object"):
        command("recommend", b)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"layer_name,alpha\na,2\n"])
def test_a_damaged_history_is_no_checkpoint(content: bytes, run: Path, tmp_path: Path) -> None:
    (run / HISTORY).write_bytes(content)
    for source in (run, run / HISTORY, run.parent):
        with pytest.raises(ResultsError, match=f"{HISTORY}: expected the"):
            command("compare", source, run, "-o", tmp_path / "out")


def test_history(run: Path, tmp_path: Path) -> None:
    shown = command("history", run.parent, "-o", tmp_path / "out", "--precision", "bf16")
    assert "4 layers, 3 states, step 0 to 20000; alpha at bf16." in shown
    assert (tmp_path / "out" / "history.html").exists()
    assert len(list((tmp_path / "out" / "plots").glob("history_*.png"))) == 4
    command("history", run, "--no-plots")
    assert (run / "history.html").exists() and not (run / "plots").exists()


def test_history_by_other_estimators(tmp_path: Path) -> None:
    sink = CsvSink(Host(output_dir=tmp_path))
    for step, alpha in ((0, 3.0), (50, 2.5)):
        fit = TailEstimate("csn", alpha, low=alpha - 0.1, high=alpha + 0.1)
        rows = [row(f"layers.{i}.up_proj", "fp32", 2.0, estimates=(fit,)) for i in range(3)]
        sink.log(snapshot(step, Table.from_rows(rows, ("fp32",))))
    shown = command("history", tmp_path, "--no-plots")
    assert "The same by other estimators" in shown and re.search(r"csn +│ +3 +│ +-0.5 +│ +0 +│ +3 +│ +3", shown)
    assert "By csn the median change is" in (tmp_path / "history.html").read_text()
    assert "csn" not in command("history", tmp_path, "--no-plots", "--estimator", "hill")
    assert "fp32, csn" not in (tmp_path / "history.html").read_text()
    with pytest.raises(OptionError, match="expected fits by half in .*, csn are in it"):
        command("history", tmp_path, "--no-plots", "--estimator", "csn,half")


def test_history_with_failures_is_code_1(tmp_path: Path) -> None:
    sink = CsvSink(Host(output_dir=tmp_path))
    sink.log(snapshot(0, Table.from_rows([row("lm_head", "fp32", 1.0, status="failed", reason="no")], ("fp32",))))
    sink.close()
    command("history", tmp_path, "--no-plots", code=1)


def test_history_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="expected the history of a training run"):
        command("history", tmp_path)
