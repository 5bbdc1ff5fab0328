"""What a comparison prints."""

import re

import pytest

from alpha_callbacks.cli.print_comparison import print_comparison
from alpha_callbacks.comparison.comparison import compare
from alpha_callbacks.tables.table import Table
from tests.support.rows import row, table

BLOCKS = tuple(f"model.layers.{i}.self_attn.q_proj" for i in range(8))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_no_zeros_where_nothing_could_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    lost = Table.from_rows([row("lm_head", "fp32", 1.0, status="failed", reason="no luck")], ("fp32",))
    print_comparison(compare(lost, lost))
    shown = capsys.readouterr().out
    assert "• Nothing could be compared: 1 without alpha." in shown and "A: failed (no luck)" in shown
    assert "median change" not in shown and "rise" not in shown


def test_a_category_without_a_compared_layer_has_no_change(capsys: pytest.CaptureFixture[str]) -> None:
    lost = row("lm_head", "fp32", 1.0, status="failed", reason="no luck")
    sides = (Table.from_rows([*table(BLOCKS, ("fp32",), shift), lost], ("fp32",)) for shift in (0.0, 0.5))
    print_comparison(compare(*sides))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if re.match(r"│ lm_head +│ +0 ", line)]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["lm_head", "0", "", "", "", "0", "0", ""]


@pytest.mark.parametrize(("layers", "ranked"), [(7, False), (8, True)])
def test_categories_of_few_layers_have_no_rank(layers: int, ranked: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(compare(table(BLOCKS[:layers]), table(BLOCKS[:layers], shift=0.5)))
    shown = capsys.readouterr().out
    assert ("correlation" in shown) == ranked == ("1.000 │" in shown)


def test_names_are_whole_or_lose_their_middle(capsys: pytest.CaptureFixture[str]) -> None:
    long = "encoder.stage0.a_bottleneck_projection_of_the_residual_stream.weight_of_it"
    names = ("model.layers.10.self_attn.q_proj", long)
    print_comparison(compare(table(names), table(names, shift=0.5)))
    moved = capsys.readouterr().out.split("Layers that changed most")[1].split("•")[0]
    first, second = [line.split("│")[1].strip() for line in moved.splitlines() if line.startswith("│")]
    assert names[0] in (first, second)
    shortened = first if second == names[0] else second
    head, tail = shortened.split("…")[0], shortened.split("…")[-1]
    assert long.startswith(head) and long.endswith(tail) and len(tail) > 5
