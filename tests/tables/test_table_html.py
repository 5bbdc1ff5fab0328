"""What a notebook shows of a table and of a scan."""

from html.parser import HTMLParser
from pathlib import Path

from alpha_callbacks import ScanResult, Table, compare, read_history
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host
from tests.support.pages import NASTY
from tests.support.rows import LAYERS, row, snapshot, table


class Tags(HTMLParser):
    """Collects tags and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_summary_heaviest_and_failures() -> None:
    lost = [row(f"{NASTY}{i}", "fp32", 1.0, status="failed", reason=f"no {NASTY}") for i in range(9)]
    html = Table.from_rows([*table(precisions=("fp32",)), *lost], ("fp32",), NASTY)._repr_html_()
    shown = Tags(html)
    assert shown.open == [] and shown.tags == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert NASTY in " ".join(shown.texts) and "9 without alpha, the first 5" in shown.texts
    assert [text for text in shown.texts if text in LAYERS] == [*LAYERS, "lm_head"], "heaviest first; category"
    assert html.count("<tr>") == 3 + 1 + 4 + 5


def test_short_whatever_the_size() -> None:
    names = tuple(f"layers.{i}.fc1" for i in range(3000))
    assert len(table(names)._repr_html_()) < 4000


def test_printed_it_is_one_line() -> None:
    failed = [row("x", name, 1.0, status="failed") for name in ("fp32", "bf16")]
    rows = [*table(precisions=("fp32", "bf16")), *failed]
    told = f"<Table tiny: {len(LAYERS) + 1} layers at fp32, bf16, 1 with a row without alpha>"
    assert repr(Table.from_rows(rows, ("fp32", "bf16"), "tiny")) == told


def test_nothing_at_all() -> None:
    assert repr(Table((), ())) == "<Table 0 layers at >"
    assert "0 layers" in Table((), ())._repr_html_()
    assert "–" in Table.from_rows([row("a", "fp32", 1.0, status="failed")], ("fp32",))._repr_html_()


def test_a_comparison_and_a_history_are_short_and_escaped(tmp_path: Path) -> None:
    names = tuple(f"model.layers.{i}.mlp.up_proj" for i in range(300))
    a, b = ([*table(names, ("fp32",), shift), row(NASTY, "fp32", 2 + shift)] for shift in (0.0, 0.25))
    lost = row("lost", "fp32", 1.0, status="failed", reason=f"no {NASTY}")
    sides = [Table.from_rows(rows, ("fp32",)) for rows in (a, [*b, lost])]
    comparison = compare(sides[0], sides[1], labels=(NASTY, "after"))
    sink = CsvSink(Host(tmp_path))
    for step, rows in enumerate((a, b)):
        sink.log(snapshot(step, Table.from_rows(rows, ("fp32",))))
    for html, told in (
        (comparison._repr_html_(), ("Change of alpha, B − A", "Layers that moved most", "1 not compared", "+0.25")),
        (read_history(tmp_path)._repr_html_(), ("Alpha at fp32", "Layers that moved farthest", "301", "+0.25")),
    ):
        shown = Tags(html)
        assert shown.open == [] and shown.tags <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
        assert set(told) <= set(shown.texts) and len(html) < 6000


def test_a_scan_says_where_its_files_are(tmp_path: Path) -> None:
    result = ScanResult(table(), tmp_path / "<i>", {"analysed": 4, "skipped": 2})
    assert "Tensors: 4 analysed, 2 skipped. Results in" in result._repr_html_() and "<i>" not in result._repr_html_()
    (tmp_path / "report.html").touch()
    assert "Report: " in ScanResult(table(), tmp_path)._repr_html_()
