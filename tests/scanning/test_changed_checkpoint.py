"""A checkpoint that is written over while it is scanned gives no table, and its rows are never taken up again."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import CheckpointError, JournalError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.results_csv import RESULTS
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))


def weights(seed: int) -> dict[str, torch.Tensor]:
    return {f"layers.{i}.fc1.weight": noise(24, 24, seed=100 * seed + i) for i in range(4)}


def replaced(file: Path) -> None:
    save_file(weights(1), file.with_name("new.tmp"))
    os.replace(file.with_name("new.tmp"), file)


def rewritten_within_the_same_time(file: Path) -> None:
    before = file.stat()
    save_file(weights(1), file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def grown(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def truncated(file: Path) -> None:
    os.truncate(file, 600)


def new_config(file: Path) -> None:
    file.with_name("config.json").write_text('{"model_type": "phi3"}')


class Once(Observer):
    """Does something to the checkpoint after the given number of layers."""

    def __init__(self, deed: Callable[[], object], after: int) -> None:
        self.deed, self.left = deed, after

    def finished(self, result: Result) -> None:
        self.left -= 1
        if self.left == 0:
            self.deed()


def run(folder: Path, out: Path, observer: Observer | None = None) -> None:
    scan(folder, output_dir=out, options=OPTIONS, workers=1, plots=Plots(()), report=False, observer=observer)


@pytest.mark.parametrize(
    ("deed", "after", "suffix"),
    [
        (replaced, 1, "safetensors"),
        (replaced, 4, "pt"),
        (rewritten_within_the_same_time, 1, "safetensors"),
        (rewritten_within_the_same_time, 4, "pt"),
        (grown, 4, "safetensors"),
        (Path.unlink, 1, "safetensors"),
        (Path.unlink, 1, "pt"),
        (new_config, 4, "safetensors"),
    ],
)
def test_it_is_noticed(tmp_path: Path, deed: Callable[[Path], None], after: int, suffix: str) -> None:
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    file, saved = folder / f"model.{suffix}", torch.save if suffix == "pt" else save_file
    saved(weights(0), file)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"rows made so far are in .*rank-0\.changed-1, and no scan") as error:
        run(folder, out, Once(lambda: deed(file), after))
    assert "\n" not in str(error.value)
    assert not (out / RESULTS).exists()
    assert [path.name for path in (out / "journal").glob("rank*")] == ["rank-0.changed-1"]
    saved(weights(1), file)
    run(folder, out)  # begins anew: no row of the old weights is taken up
    again = tmp_path / "again"
    run(folder, again)
    assert (out / RESULTS).read_bytes() == (again / RESULTS).read_bytes()


def test_a_file_cut_off_while_it_is_read_ends_the_scan_and_not_the_process(tmp_path: Path) -> None:
    save_file(weights(0), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="it has changed"):
        run(tmp_path, tmp_path / "out", Once(lambda: truncated(tmp_path / "model.safetensors"), 1))


def test_a_journal_of_the_old_file_is_refused(tmp_path: Path) -> None:
    save_file(weights(0), tmp_path / "model.safetensors")
    run(tmp_path, tmp_path / "out")
    save_file(weights(1), tmp_path / "model.safetensors")
    with pytest.raises(JournalError, match=r"checkpoint.model.safetensors was .* there and is .* now"):
        run(tmp_path, tmp_path / "out")


def test_another_file_beside_it_does_not_matter(tmp_path: Path) -> None:
    save_file(weights(0), tmp_path / "model.safetensors")
    run(tmp_path, tmp_path / "out", Once(lambda: (tmp_path / "notes.txt").write_text("x"), 1))
    assert (tmp_path / "out" / RESULTS).exists()


def test_the_choice_among_files_is_on_record(tmp_path: Path) -> None:
    save_file(weights(0), tmp_path / "model.safetensors")
    save_file(weights(1), tmp_path / "model.fp16.safetensors")
    result = scan(tmp_path, output_dir=tmp_path / "out", options=OPTIONS, plots=Plots(()))
    assert result is not None
    (note,) = result.notes
    assert "model.fp16.safetensors" in note
    assert json.loads((tmp_path / "out" / "run.json").read_text())["notes"] == [note]
    assert "left aside: model.fp16.safetensors" in (tmp_path / "out" / "report.html").read_text()
