"""Eigenvalues on disk: what they hold, and that every way of running a scan keeps them whole."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from alpha_callbacks import AnalysisOptions, hill_alpha, merge, open_spectra, scan
from alpha_callbacks.analysis import certificate_costs
from alpha_callbacks.analysis.processes import ScanShare
from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.solvers import numpy_blas, shortest_way
from alpha_callbacks.tables.spectra_files import kept_layers, predicted_bytes, write_spectra
from alpha_callbacks.weights.weight import Weight
from tests.conftest import heavy
from tests.support.scan_runs import NO_PLOTS, command_on_ranks, contents

LOW = AnalysisOptions(precisions=("fp32", "bf16", "int4"))


def scanned(folder: Path, **options: object) -> Path:
    scan(output_dir=folder, plots=NO_PLOTS, report=False, **options)  # type: ignore[arg-type]
    return folder


def held(folder: Path) -> Mapping[str, Mapping[str, list[float]]]:
    """Return all eigenvalues in memory."""
    return {
        name: {precision: evals.tolist() for precision, evals in layer.items()}
        for name, layer in open_spectra(folder).items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scanned(tmp_path_factory.mktemp("spectra"))


def test_files_that_the_system_lost_with_the_power_are_computed_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    shutil.copytree(whole, folder)
    empty, cut, zeros, flipped, kept = sorted((folder / "spectra").iterdir())[:5]
    before = kept.stat().st_mtime_ns
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-30])
    zeros.write_bytes(bytes(zeros.stat().st_size))
    flipped.write_bytes(flipped.read_bytes().replace(flipped.read_bytes()[500:508], b"otherbit"))
    scanned(folder)
    assert held(folder) == held(whole) and kept.stat().st_mtime_ns == before


def test_what_comes_back_is_what_was_written(tmp_path: Path) -> None:
    evals, rounded = torch.linspace(2, 1, 50, dtype=torch.float64), torch.linspace(3, 1, 50, dtype=torch.float64)
    write_spectra(tmp_path / "spectra", "a/b", {"fp32": evals, "bf16": evals, "int4": rounded})
    layer = open_spectra(tmp_path)["a/b"]
    assert layer.layer_name == "a/b" and list(layer) == ["fp32", "bf16", "int4"] and len(layer) == 3
    assert torch.equal(layer["bf16"], evals) and torch.equal(layer["int4"], rounded)
    assert (layer.shared("bf16"), layer.shared("int4")) == ("fp32", "int4")
    (file,) = (tmp_path / "spectra").iterdir()
    assert file.stat().st_size < 2 * 50 * 8 + 1200, "a shared decomposition is stored once"


def test_nothing_to_write_removes_what_an_earlier_run_left(tmp_path: Path) -> None:
    write_spectra(tmp_path / "spectra", "a", {"fp32": torch.ones(3, dtype=torch.float64)})
    write_spectra(tmp_path / "spectra", "a", {})
    assert len(open_spectra(tmp_path)) == 0


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a" * 5000, "", "ä\x00\n", "con", "<script>", "\udcff"])
def test_a_file_stays_in_the_folder_whatever_the_name(name: str, tmp_path: Path) -> None:
    write_spectra(tmp_path / "spectra", name, {"fp32": torch.ones(3, dtype=torch.float64)})
    assert [path.parent for path in tmp_path.rglob("*.npz")] == [tmp_path / "spectra"]
    assert list(open_spectra(tmp_path)) == [name]


def test_names_that_differ_only_in_what_a_file_name_cannot_hold_stay_apart(tmp_path: Path) -> None:
    for i, name in enumerate(("a/b", "a_b", "a b")):
        write_spectra(tmp_path / "spectra", name, {"fp32": torch.full((3,), float(i), dtype=torch.float64)})
    assert held(tmp_path)["a b"] == {"fp32": [2.0, 2.0, 2.0]} and len(open_spectra(tmp_path)) == 3


def test_a_layer_or_folder_that_is_not_there(tmp_path: Path) -> None:
    assert len(open_spectra(tmp_path)) == 0 and list(open_spectra(tmp_path)) == [] and "x" not in open_spectra(tmp_path)
    with pytest.raises(KeyError):
        open_spectra(tmp_path)["x"]


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    write_spectra(tmp_path / "spectra", "a", {"fp32": torch.ones(3, dtype=torch.float64)})
    (file,) = (tmp_path / "spectra").iterdir()
    file.write_bytes(file.read_bytes()[:80])
    with pytest.raises(SpectrumError, match=r"expected eigenvalues kept by `scan`.*--save-spectra --no-resume"):
        open_spectra(tmp_path)["a"]


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "spectra").mkdir()
    write_spectra(tmp_path / "spectra", "a", {"fp32": torch.ones(3, dtype=torch.float64)})
    (file,) = (tmp_path / "spectra").iterdir()
    np.savez(file, index=np.array([{"layer": "a"}], dtype=object))
    with pytest.raises(SpectrumError, match="allow_pickle=False"):
        open_spectra(tmp_path)["a"]


def test_alpha_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    result = scan(output_dir=tmp_path, plots=NO_PLOTS, report=False, options=LOW)
    assert result is not None
    spectra = open_spectra(tmp_path)
    assert set(spectra) == {layer.first.layer_name for layer in result.table.layers}
    for row in result.table:
        assert hill_alpha(spectra[row.layer_name][row.precision], k=row.k_used).alpha == row.alpha


def test_resumed(whole: Path, tmp_path: Path) -> None:
    def stopping(*arguments: object) -> None:
        if len(list((tmp_path / "spectra").glob("*.npz"))) > 9:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("alpha_callbacks.scanning.scan.Observer.finished", stopping)
        scanned(tmp_path)
    assert 9 < len(open_spectra(tmp_path)) < 29
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "spectra").iterdir()}
    assert held(scanned(tmp_path)) == held(whole)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items()), "computed again"
    assert contents(tmp_path) == contents(whole)


def test_asking_for_spectra_computes_again_only_what_has_none(whole: Path, tmp_path: Path) -> None:
    scanned(tmp_path, save_spectra=False)
    assert not (tmp_path / "spectra").exists()
    scanned(tmp_path)
    assert not (tmp_path / "spectra").exists(), "the default computes nothing for them"
    assert held(scanned(tmp_path, save_spectra=True)) == held(whole)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")
def test_what_is_proved_has_eigenvalues_only_where_they_are_asked_for(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_costs, "_CALLS", 0.0)  # a small matrix pays too
    monkeypatch.setattr(shortest_way, "_FEW", 10**6)
    folder = tiny_checkpoint({"layers.0.fc1.weight": heavy(300, 300)})
    default = scan(folder, output_dir=tmp_path / "out", plots=NO_PLOTS)
    assert default is not None
    assert [row.method for row in default.table] == ["lossless", "certified", "certified"]
    spectra = open_spectra(tmp_path / "out")["layers.0.fc1"]
    assert set(spectra) == {"fp32"}
    with pytest.raises(KeyError, match="bf16: expected one of fp32.*--save-spectra"):
        spectra["bf16"]
    merge([tmp_path / "out"], output_dir=tmp_path / "merged", plots=NO_PLOTS, report=False)
    whole = scan(folder, output_dir=tmp_path / "out", plots=NO_PLOTS, report=False, save_spectra=True)
    assert whole is not None
    assert [row.method for row in whole.table] == ["lossless", "computed", "computed"]
    assert set(open_spectra(tmp_path / "out")["layers.0.fc1"]) == {"fp32", "fp16", "bf16"}
    for row, exact in zip(default.table, whole.table, strict=True):
        assert abs(row.alpha - exact.alpha) <= (row.alpha_error_bound or 1e-12 * row.alpha)
    merge([tmp_path / "out"], output_dir=tmp_path / "merged", plots=NO_PLOTS, report=False)
    assert held(tmp_path / "merged") == held(tmp_path / "out"), "not what the merge before has left"
    kept = scan(folder, output_dir=tmp_path / "out", plots=NO_PLOTS, report=False)
    assert kept is not None and [row.method for row in kept.table] == ["lossless", "computed", "computed"], "as it was"


def test_starting_over_leaves_nothing_of_before(tmp_path: Path) -> None:
    scanned(tmp_path)
    scanned(tmp_path, options=AnalysisOptions(include="q_proj"), resume=False)
    assert all("q_proj" in name for name in open_spectra(tmp_path))


def test_shards_in_folders_of_their_own(whole: Path, tmp_path: Path) -> None:
    for i in (1, 2):
        scanned(tmp_path / str(i), shard=ScanShare(i, 2))
    merge([tmp_path / "1", tmp_path / "2"], output_dir=tmp_path / "merged", plots=NO_PLOTS, report=False)
    assert held(tmp_path / "merged") == held(whole)
    merge([tmp_path / "1", tmp_path / "2"], output_dir=tmp_path / "1", plots=NO_PLOTS, report=False)
    assert held(tmp_path / "1") == held(whole)


def test_ranks(whole: Path, tmp_path: Path) -> None:
    command_on_ranks("scan", "-o", tmp_path, "--no-plots", "--no-report", "--threads", 1)
    assert held(tmp_path) == held(whole)


def test_layers_without_alpha_have_none(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_checkpoint({"layers.0.fc1.weight": heavy(30, 20), "layers.1.fc1.weight": torch.zeros(9, 9)})
    scan(folder, output_dir=tmp_path / "out", plots=NO_PLOTS, report=False, save_spectra=True)
    assert list(open_spectra(tmp_path / "out")) == ["layers.0.fc1"]


def weight(name: str, category: str, out: int = 4096, into: int = 4096) -> Weight:
    def unread(start: int, stop: int) -> torch.Tensor:
        raise AssertionError("the decision reads no weights")

    return Weight(name, category, out, into, torch.bfloat16, "bfloat16", unread)


def test_the_default_keeps_what_takes_little() -> None:
    few = [weight(f"layers.{i}.q_proj", "attn_q") for i in range(225)]
    experts = [weight(f"layers.{i}.up_proj", "moe_expert_up") for i in range(20_000)]
    assert kept_layers(few, LOW, None) == {w.layer_name for w in few}
    assert kept_layers([*few, *experts], LOW, None) == {w.layer_name for w in few}
    many = [weight(f"layers.{i}.fc", "other") for i in range(20_000)]
    assert kept_layers(many, LOW, None) == frozenset()
    assert len(kept_layers(many, LOW, True)) == 20_000 and not kept_layers(few, LOW, False)


def test_the_prediction_is_no_less_than_the_files(whole: Path) -> None:
    sizes = [evals.numel() for layer in open_spectra(whole).values() for evals in layer.values()]
    assert predicted_bytes(weight("a", "attn_q", 300, 100), LOW) == 8 * 100 * 2  # as stored, and int4
    assert sum(path.stat().st_size for path in (whole / "spectra").iterdir()) < 8 * sum(sizes) + 29 * 1500
