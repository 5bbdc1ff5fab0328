"""Text that others have written, for every medium; cells of CSV come back as they were."""

import csv
import io
import re

import pandas
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.foreign_text import csv_cell, distinct, from_csv_cell, legal_folder_name, safe_file_name, visible
from alpha_callbacks.tables.csv_lines import csv_rows, csv_text
from alpha_callbacks.utils.own_logger import own_logger

TEXT = st.text(st.characters(codec=None) | st.sampled_from("=+-@'\\;x1bu20U \t\r\n\x00\x1b\x9b\u202e\ud800\uff1d"))


@given(TEXT)
@example("a\x1b]52;c;aGk=\x07\u202e\x9b31m\r\n\u2028\ud800")
def test_visible_text_is_one_line_that_every_file_holds(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() and shown.encode().decode() == shown == visible(shown)
    assert text.isprintable() == (shown == text)
    assert visible(text, keep="\n").count("\n") == text.count("\n")


@given(TEXT)
@example("'=1")
@example("\\x1b")
@example("\\\\")
@example("\\\x1b")
@example("a; '=1;'")
def test_a_cell_comes_back(text: str) -> None:
    cell = csv_cell(text)
    assert cell.isprintable() and from_csv_cell(cell) == text
    number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", cell)
    assert number or not re.search("(^|;) *[=+@\uff0b\uff0d\uff1d\uff20-]", cell)


@given(st.floats() | st.integers())
def test_numbers_stay_numbers(number: float) -> None:
    for text in (str(number), f"{number:+}", f"{number:.3g}"):
        assert csv_cell(text) == text


@given(st.lists(st.lists(TEXT | st.integers(), min_size=2, max_size=2), min_size=1, max_size=4))
def test_lines_come_back_one_a_line(lines: list[list[object]]) -> None:
    text = csv_text(lines)
    assert text.count("\n") == len(lines) and "\r" not in text
    assert csv_rows(text) == [[str(cell) for cell in line] for line in lines]
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == len(lines)
    frame = pandas.read_csv(io.StringIO(text), header=None, dtype=str, keep_default_na=False)
    assert [[from_csv_cell(cell) for cell in row] for row in frame.values] == csv_rows(text)


def test_a_cell_may_be_longer_than_the_csv_module_reads() -> None:
    before = csv.field_size_limit()
    assert csv_rows(csv_text([["x" * 2 * before, "b"]])) == [["x" * 2 * before, "b"]]
    assert csv.field_size_limit() == before


@given(st.lists(TEXT, unique=True, max_size=8))
@example(["a b", "a_b", "a_b_c8687a", "a\tb"])
@example(["x" * 300 + "a", "x" * 300 + "b"])
def test_no_two_names_have_one_tag_in_any_order(names: list[str]) -> None:
    tags = distinct(names)
    assert len(set(tags.values())) == len(names) and tags == distinct(names[::-1])
    assert all(re.fullmatch(r"[\w.-]{0,190}", tag) for tag in tags.values())


def test_a_name_that_needs_no_cleaning_keeps_its_tag() -> None:
    assert distinct(["model.layers.0.mlp", "a b"]) == {"model.layers.0.mlp": "model.layers.0.mlp", "a b": "a_b"}
    assert distinct(["a_b", "a b"])["a_b"] == "a_b"


def test_names_of_files_differ_in_more_than_case() -> None:
    names = ["Case", "case", "CASE/", "a/B", "a_b", "Straße", "other"]
    files = distinct(names, safe_file_name)
    assert len({file.casefold() for file in files.values()}) == len(names) and files == distinct(
        names[::-1], safe_file_name
    )
    assert files["a_b"] == "a_b" and files["other"] == "other"


@given(TEXT)
@example("CON")
@example("nul.up_proj")
@example("COM1 .txt")
@example("..")
@example("a" * 300)
@example("é" * 300)
def test_file_and_folder_names_are_legal_everywhere(name: str) -> None:
    devices = r"(?i)(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?"
    for legal in (safe_file_name(name), legal_folder_name(name)):
        assert 0 < len(legal.encode()) <= 201 and not re.search(r'[<>:"/\\|?*\x00-\x1f]|[. ]$', legal)
        assert not re.fullmatch(devices, legal) and legal not in (".", "..")


def test_errors_and_records_show_what_is_in_names(caplog: pytest.LogCaptureFixture) -> None:
    assert str(CheckpointError("a\x1b[2J\nb")) == r"a\x1b[2J\x0ab"
    assert "needs an optional package" in str(MissingExtraError("x", "gguf"))
    own_logger("alpha_callbacks.here").warning("%s and %d: %s", "a\x1b", 3, ValueError("b\u202e"))
    assert caplog.messages == [r"a\x1b and 3: b\u202e"]
