"""One reader of a results folder: what is absent is None or empty, what is damaged is an error that names the file."""

from pathlib import Path

import pytest

from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.planning.recommendation_files import read_recommendation
from alpha_callbacks.tables.results_csv import RESULTS
from alpha_callbacks.tables.results_folder import ResultsFolder, table_of
from tests.support.example_scans import example
from tests.support.rows import table


def test_an_empty_folder_has_nothing_and_says_so_of_the_results(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    assert (folder.run, folder.source, folder.coverage, len(folder.spectra)) == ({}, "", None, 0)
    assert read_recommendation(tmp_path) is None
    with pytest.raises(ResultsError, match="expected the results of `alpha-hill scan`, found nothing there"):
        _ = folder.table


@pytest.mark.parametrize("name", ["run.json", "coverage.csv", "recommendations.csv", "plan.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1]", b"a,b\n1\n", b'{"options": 3}'])
def test_a_damaged_file_is_named(content: bytes, name: str, tmp_path: Path) -> None:
    example(tmp_path)
    (tmp_path / name).write_bytes(content)
    folder = ResultsFolder(tmp_path)
    with pytest.raises(ResultsError, match=rf"{name}: expected .*, or remove the file to go on without it\."):
        _ = (folder.run, folder.coverage, read_recommendation(tmp_path))


@pytest.mark.parametrize("name", ["run.json", "coverage.csv"])
def test_a_file_that_cannot_be_opened_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    folder = ResultsFolder(tmp_path)
    with pytest.raises(ResultsError, match=f"{name}: expected .*, got a folder, no regular file\\."):
        _ = (folder.run, folder.coverage)


@pytest.mark.parametrize("cells", ["x,128", ",128", "\u00b2,4"])
def test_a_recommendation_with_odd_shapes_is_damaged(cells: str, tmp_path: Path) -> None:
    header = "layer_name,precision,reason,out_features,in_features"
    (tmp_path / "recommendations.csv").write_text(f"{header}\nfc,int4,,{cells}\n", encoding="utf-8")
    with pytest.raises(ResultsError, match="expected the shape of fc as numbers"):
        read_recommendation(tmp_path)


def test_a_file_means_its_folder(tmp_path: Path) -> None:
    example(tmp_path)
    (tmp_path / RESULTS).write_text("")
    assert ResultsFolder(str(tmp_path / RESULTS)).source == "org/model-8B"


@pytest.mark.parametrize("other", [None, 3, [], {"layers": ()}])
def test_neither_a_table_nor_a_path(other: object) -> None:
    told = "expected a Table, or the folder or results CSV of a scan, got"
    with pytest.raises(OptionError, match=f"a: {told} {type(other).__name__}"):
        table_of(other, "a")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="results: expected a folder or file, got"):
        ResultsFolder(other)  # type: ignore[arg-type]


def test_a_table_is_itself() -> None:
    whole = table()
    assert table_of(whole, "a") is whole
