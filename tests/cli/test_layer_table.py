"""Tables of a terminal as wide as it is, and of a pipe as wide as they need."""

import io

import pytest
from rich.console import Console

from alpha_callbacks.cli.layer_table import Heading, layer_table
from alpha_callbacks.cli.terminal import console

NAMES = (
    "lm_head",
    *(f"model.layers.{block}.block_sparse_moe.experts.{expert}.down_proj" for block in (1, 11) for expert in (4, 44)),
    "model.vision_tower.a_projection_of_the_residual_stream\x1b[2J",
)
HEADINGS = (Heading("why", left=True), Heading("share", True), Heading("shape", True))
ROWS = [(f"error {i}.25%", "0.1%", "4096x14336") for i in range(len(NAMES))]


def printed(width: int) -> list[list[str]]:
    """Return the cells of every line, checking that none is wider than the terminal."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, soft_wrap=True)
    out.print(layer_table(out, "Layers", NAMES, HEADINGS, ROWS))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


@pytest.mark.parametrize("width", [60, 80])
def test_a_line_per_layer_whose_name_says_which_it_is(width: int) -> None:
    rows = printed(width)
    assert len(rows) == len(NAMES) and len({row[0] for row in rows}) == len(NAMES)
    assert [row[1] for row in rows] == [row[0] for row in ROWS], "no digit is lost"
    for row, name in zip(rows[:-1], NAMES[:-1], strict=True):
        assert row[0].split(".")[-2:] == name.split(".")[-2:], "expert 44 is not expert 4"
    assert rows[0][0] == "lm_head" and "…" in rows[-1][0]


def test_columns_make_room_for_names_and_come_back() -> None:
    assert [len(printed(width)[0]) for width in (40, 60, 300)] == [2, 3, 4]
    assert [row[0] for row in printed(300)][:-1] == list(NAMES[:-1])


def test_what_is_piped_is_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = console()
    out.print(layer_table(out, "Layers", NAMES, HEADINGS, ROWS))
    path = "/a/" + "folder/" * 30
    out.print(f"Results in {path}")
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES[:-1]) and f"Results in {path}\n" in shown
    assert r"stream\x1b" in shown and "\x1b" not in shown
