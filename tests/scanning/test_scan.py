"""The scan through the doors that users take: function, command, torchrun, shards, and a kill in the middle."""

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alpha_callbacks import AnalysisOptions, Plots, merge, scan
from alpha_callbacks.analysis.processes import ScanShare
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import CheckpointError, JournalError
from alpha_callbacks.scanning.journal_parts import only_writer
from tests.conftest import noise
from tests.support import warm
from tests.support.scan_runs import FILES, NO_PLOTS, QUIET, TORCHRUN, command, command_on_ranks, contents

LEADING = ["layer_name", "category", "out_features", "in_features", "alpha_fp32", "alpha_fp16", "alpha_bf16"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert scan(output_dir=folder, **QUIET) is not None
    return folder


def test_files_of_the_embedded_scan(whole: Path) -> None:
    rows = list(csv.reader((whole / FILES[0]).read_text().splitlines()))
    assert rows[0][:7] == LEADING
    assert len(rows) == 30
    assert {len(row) for row in rows} == {len(rows[0])}
    summary = list(csv.reader((whole / FILES[1]).read_text().splitlines()))
    assert summary[0] == ["precision", "count", "layers", "mean", "std", "min", "median", "max", "q25", "q75"]
    assert [row[:3] for row in summary[1:]] == [["fp32", "29", "29"], ["fp16", "29", "29"], ["bf16", "29", "29"]]
    coverage = list(csv.DictReader((whole / FILES[2]).read_text().splitlines()))
    assert len(coverage) == 29 + 10
    assert all(row["reason"] for row in coverage if row["outcome"] == "skipped")
    run = json.loads((whole / "run.json").read_text())
    assert run["options"]["k_frac"] == 0.1
    assert run["versions"]["torch"]


def test_summary_agrees_with_pandas(whole: Path) -> None:
    pandas = pytest.importorskip("pandas")
    results, summary = (pandas.read_csv(whole / name) for name in FILES[:2])
    for _, row in summary.iterrows():
        described = results[f"alpha_{row.precision}"].describe()
        for ours, theirs in (("count", "count"), ("mean", "mean"), ("std", "std"), ("min", "min"), ("max", "max")):
            assert row[ours] == pytest.approx(described[theirs], rel=1e-10)
        assert [row["q25"], row["median"], row["q75"]] == pytest.approx(
            list(described[["25%", "50%", "75%"]]), rel=1e-10
        )


def test_result_object(tmp_path: Path) -> None:
    result = scan(EMBEDDED, output_dir=tmp_path, **QUIET)
    assert result is not None
    assert len(result.table) == 29
    assert result.failed == []
    assert result.coverage == {"analysed": 29, "skipped": 10}


@pytest.mark.parametrize(
    "parallelism", [{"workers": 1, "threads": 1}, {"workers": 1, "threads": 2}, {"workers": 3, "threads": 3}]
)
def test_values_do_not_depend_on_workers_or_threads(whole: Path, tmp_path: Path, parallelism: dict[str, int]) -> None:
    scan(output_dir=tmp_path, **QUIET, **parallelism)  # type: ignore[arg-type]
    assert contents(tmp_path) == contents(whole)


def test_second_run_computes_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(output_dir=tmp_path, **QUIET)
    monkeypatch.setattr("alpha_callbacks.analysis.parallel.analyze_weight", lambda *a: pytest.fail("computed again"))
    scan(output_dir=tmp_path, **QUIET)
    assert contents(tmp_path) == contents(whole)


def test_other_options_are_refused_and_no_resume_starts_over(tmp_path: Path) -> None:
    scan(output_dir=tmp_path, **QUIET)
    with pytest.raises(JournalError, match=r"options.k_frac was 0.1 there and is 0.2"):
        scan(output_dir=tmp_path, **QUIET, options=AnalysisOptions(k_frac=0.2))
    result = scan(output_dir=tmp_path, **QUIET, options=AnalysisOptions(k_frac=0.2), resume=False)
    assert result is not None
    assert result.table.layers[0].first.k_used == 38


@pytest.mark.usefixtures("blank_charts")
def test_charts_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    def charts() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in (tmp_path / "plots").rglob("*.*")}

    small = AnalysisOptions(include=r"layers\.0.*\.(q|k|v)_proj")
    scan(output_dir=tmp_path, options=small, plots=Plots(max_layers=1))
    (tmp_path / "plots" / "mine.png").touch()
    many = charts()
    scan(output_dir=tmp_path, options=small, plots=Plots(max_layers=20))
    assert many - charts() == {f"plots/combined_batch_{i}.png" for i in (2, 3)}
    assert {f"plots/standing_out/{kind}_model.layers.0.self_attn.q_proj.png" for kind in ("spectrum", "hill")} < many
    scan(output_dir=tmp_path, options=small, plots=Plots(formats=("svg",)))
    assert "plots/combined_batch_1.png" in charts() and "plots/combined_batch_1.svg" in charts(), "the same numbers"
    other = AnalysisOptions(include=r"layers\.1\.mlp")
    scan(output_dir=tmp_path, options=other, plots=NO_PLOTS, resume=False)
    assert charts() == {"plots/mine.png"}


def test_a_report_of_other_numbers_does_not_stay(tmp_path: Path) -> None:
    report, small = tmp_path / "report.html", AnalysisOptions(include=r"layers\.0")
    scan(output_dir=tmp_path, options=small, plots=NO_PLOTS, report=False)
    assert not report.exists()
    scan(output_dir=tmp_path, options=small, plots=NO_PLOTS)
    before = report.read_bytes()
    scan(output_dir=tmp_path, options=small, plots=NO_PLOTS, report=False)
    assert report.read_bytes() == before, "the same numbers"
    other = AnalysisOptions(include=r"layers\.1")
    scan(output_dir=tmp_path, options=other, plots=NO_PLOTS, report=False, resume=False)
    assert not report.exists()


def test_a_run_json_that_lists_files_elsewhere_removes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious.png"
    precious.touch()
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text(
        json.dumps({"charts": ["../precious.png", str(precious)], "options": {}, "checkpoint": {}})
    )
    scan(output_dir=out, **QUIET)
    assert precious.exists()


def test_a_damaged_run_json_costs_a_warning_and_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run.json").write_text('{"charts": 3}')
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.png").touch()
    assert scan(output_dir=tmp_path, plots=NO_PLOTS, report=False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "run.json: expected charts as list, got int" in caplog.text and (tmp_path / "plots" / "old.png").exists()
    assert json.loads((tmp_path / "run.json").read_text())["charts"] == []


def test_shards_merge_into_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in (1, 2, 3)]
    for i, folder in enumerate(folders, 1):
        assert scan(output_dir=folder, **QUIET, shard=ScanShare(i, 3)) is None
        assert not (folder / FILES[0]).exists()
    with pytest.raises(JournalError, match=r"expected 29 finished layers, \d+ are missing"):
        merge(folders[:2], output_dir=tmp_path / "part", **QUIET)
    merge(folders, output_dir=tmp_path / "all", **QUIET)
    assert contents(tmp_path / "all") == contents(whole)


def test_merge_keeps_what_was_said_of_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({f"layers.{i}.fc1.weight": noise(24, 24) for i in range(2)}, folder / "model.safetensors")
    torch.save({"layers.0.fc1.weight": noise(24, 24)}, folder / "pytorch_model.bin")
    for i in (1, 2):
        scan(folder, output_dir=tmp_path / "out", **QUIET, shard=ScanShare(i, 2))
    (note,) = merge([tmp_path / "out"], output_dir=tmp_path / "out", **QUIET).notes
    assert note.endswith("left aside: pytorch_model.bin.")
    (folder / "pytorch_model.bin").unlink()  # the rows are of the same file: the journal is taken up
    result = scan(folder, output_dir=tmp_path / "out", **QUIET)
    assert result is not None and result.notes == ()


def test_layers_of_one_name_are_rows_under_their_paths_with_a_note(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_checkpoint({"a.weight": noise(24, 32), "_orig_mod.a.weight": noise(32, 24, seed=1)})
    result = scan(folder, output_dir=tmp_path / "out", options=AnalysisOptions(precisions=("fp32",)), **QUIET)
    assert result is not None and {row.layer_name: row.out_features for row in result.table} == {
        "a": 24, "_orig_mod.a": 32
    }  # fmt: skip
    (note,) = result.notes
    assert note.startswith("Layers whose name another layer has too are listed under their own path")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["notes"] == [note]


def test_starting_one_shard_over_leaves_the_others(whole: Path, tmp_path: Path) -> None:
    scan(output_dir=tmp_path, **QUIET, shard=ScanShare(1, 2))
    scan(output_dir=tmp_path, **QUIET, shard=ScanShare(2, 2), resume=False)
    merge([tmp_path], output_dir=tmp_path, **QUIET)
    assert contents(tmp_path) == contents(whole)


def test_failed_layers_are_tried_again(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("alpha_callbacks.analysis.solve.spectrum", broken)
        result = scan(output_dir=tmp_path, **QUIET)
        assert result is not None and len(result.failed) == 29
    scan(output_dir=tmp_path, **QUIET)
    assert contents(tmp_path) == contents(whole)


def test_merge_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="found none"):
        merge([tmp_path], output_dir=tmp_path, **QUIET)


def test_a_filter_that_lets_nothing_through(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"expected layers that match 'nowhere', got none. Names are for example "
    ):
        scan(output_dir=tmp_path, options=AnalysisOptions(include="nowhere"))


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no/such/folder/here: expected a file, a folder or a model id"):
        scan("no/such/folder/here", output_dir=tmp_path)


def test_nothing_to_analyse(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_checkpoint({"norm.weight": torch.ones(8)})
    with pytest.raises(CheckpointError, match=r"expected weights to analyse, found none \(1-D, has no spectrum\)"):
        scan(folder, output_dir=tmp_path / "out")


@pytest.fixture
def slow_checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    """Each layer takes about a twentieth of a second, so that a kill finds the run in the middle."""
    return tiny_checkpoint({f"layers.{i}.fc1.weight": noise(700, 500, seed=i) for i in range(12)})


def test_killed_and_resumed_is_byte_identical(slow_checkpoint: Path, tmp_path: Path) -> None:
    scan(slow_checkpoint, output_dir=tmp_path / "whole", **QUIET)
    arguments = ["-m", "alpha_callbacks", "scan", str(slow_checkpoint), "-o", str(tmp_path / "killed"), "--no-plots"]
    part = tmp_path / "killed" / "journal" / "rank-0.jsonl"
    kills = 0
    for wanted in (2, 5):
        process = warm.start(arguments, imports=warm.COMMAND, output=tmp_path / "output", errors=tmp_path / "output")
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if part.exists() and part.read_text().count("\n") >= wanted:
                process.kill()
                break
            time.sleep(0.005)
        kills += process.wait(120) == -signal.SIGKILL
    assert kills == 2
    assert not (tmp_path / "killed" / FILES[0]).exists()
    before = part.read_text().splitlines()
    finished = command(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert part.read_text().splitlines()[: len(before) - 1] == before[:-1], "finished layers were computed again"
    assert "kept from an earlier run" in finished.stderr.replace("\n", " ")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_two_ranks_give_the_single_process_result(whole: Path, tmp_path: Path) -> None:
    first, second = command_on_ranks("scan", "-o", tmp_path, "--no-plots", "--no-report", "--threads", "1")
    assert contents(tmp_path) == contents(whole)
    counts = [len((tmp_path / "journal" / f"rank-{r}.jsonl").read_text().splitlines()) - 1 for r in (0, 1)]
    assert sum(counts) == 29 and min(counts) > 5
    assert first.count("alpha-Hill") == 1 and "alpha-Hill" not in second, "only one rank reports"


def test_ranks_of_a_shard(whole: Path, tmp_path: Path) -> None:
    for i in ("1/2", "2/2"):
        command_on_ranks("scan", "-o", tmp_path, "--shard", i, "--threads", 1)
    merge([tmp_path], output_dir=tmp_path, **QUIET)
    assert contents(tmp_path) == contents(whole)


def test_one_failing_rank_ends_all_with_its_message(tmp_path: Path) -> None:
    """Under torchrun, rank 1 finds its part of the journal locked; rank 0 must not wait for it for ever."""
    with only_writer(tmp_path / "journal", "rank-1"):
        start = time.monotonic()
        done = command(*TORCHRUN, "-o", str(tmp_path), "--no-plots")
    assert done.returncode != 0
    assert "rank-1.jsonl: expected to be the only writer" in done.stderr.replace("\n", "")
    assert time.monotonic() - start < 90


def test_failing_layers_are_rows_and_exit_code_1(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    bad = noise(20, 20)
    bad[1, 1] = float("nan")
    folder = tiny_checkpoint(
        {"layers.0.fc1.weight": bad, "layers.1.fc1.weight": noise(20, 20), "layers.2.fc1.weight": torch.zeros(9, 9)}
    )
    done = command("-m", "alpha_callbacks", "scan", str(folder), "-o", str(tmp_path / "out"), "-p", "fp32")
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader((tmp_path / "out" / FILES[0]).read_text().splitlines()))
    assert [row["status_fp32"] for row in rows] == ["non_finite", "ok", "degenerate"]
    assert [bool(row["alpha_fp32"]) for row in rows] == [False, True, False]
    assert "2 layers have a row without alpha: layers.0.fc1, layers.2.fc1" in done.stdout
    assert (tmp_path / "out" / "plots" / "individual_layers").is_dir()
