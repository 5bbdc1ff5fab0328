import csv
from pathlib import Path

from alpha_callbacks.comparison.comparison import compare
from alpha_callbacks.comparison.comparison_csv import comparison_header, write_comparison
from tests.support.rows import row, table

LEADING = [
    "layer_name",
    "category",
    "modality",
    "block",
    "side",
    "alpha_a",
    "alpha_b",
    "delta",
    "delta_error",
    "delta_in_stderr",
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_a_layer_with_both_sides(tmp_path: Path) -> None:
    b = table(layers=("model.layers.0.self_attn.q_proj", "new.head"), shift=0.5)
    write_comparison(compare(table(), b), tmp_path)
    lines = read(tmp_path / "comparison.csv")
    assert comparison_header()[:10] == LEADING
    assert [line["side"] for line in lines] == ["both", "a", "a", "a", "b"]
    assert lines[0]["delta"] == "0.5" and lines[0]["alpha_a"] == "2" and lines[0]["alpha_ratio_b"] == "0.5"
    assert lines[0]["out_features_a"] == lines[0]["out_features_b"] == "64"
    assert lines[1]["alpha_b"] == lines[1]["status_b"] == "" and lines[1]["reason"] == "only in A"
    assert lines[4]["alpha_a"] == "" and lines[4]["layer_name_b"] == "new.head" and lines[4]["status_b"] == "ok"


def test_summary_a_category(tmp_path: Path) -> None:
    write_comparison(compare(table(), table(shift=0.25)), tmp_path)
    lines = read(tmp_path / "comparison_summary.csv")
    assert [(line["layers"], line["count"]) for line in lines] == [
        ("all", "4"),
        ("attn_q", "2"),
        ("mlp_up", "1"),
        ("lm_head", "1"),
    ]
    assert {line["median"] for line in lines} == {"0.25"}
    assert lines[0]["rises"] == "4" and float(lines[0]["spearman_alpha"]) == 1 and lines[1]["spearman_alpha"] == ""


def test_shapes_that_a_history_does_not_know_are_empty(tmp_path: Path) -> None:
    from alpha_callbacks.tables.table import Table

    unknown = Table.from_rows([row("lm_head", "fp32", 3.0, out_features=0, in_features=0)], ("fp32",))
    write_comparison(compare(unknown, unknown), tmp_path)
    (line,) = read(tmp_path / "comparison.csv")
    assert line["out_features_a"] == "" and line["delta"] == "0"
