from alpha_callbacks.weights.stored_quantization.layouts import LAYOUTS
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/what_can_be_scanned.md"


def test_layouts_have_names_of_their_own() -> None:
    names = [layout.name for layout in LAYOUTS]
    assert names and len(set(names)) == len(names)


def test_the_page_says_what_each_layout_says_of_itself() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [
        f"| {layout.name} | {summary.decoded} | {summary.names} | {summary.live} | {summary.refused} |"
        for layout in LAYOUTS
        for summary in (layout.summary,)
    ]
    assert [row for row in rows if row not in lines] == []
    first = lines.index("| layout | decoded | tensors of a file | live module | refused |")
    shown = [line.split(" | ")[0].removeprefix("| ") for line in lines[first + 2 : lines.index("", first)]]
    assert shown == [layout.name for layout in LAYOUTS]
