"""The committed table of architectures is what the code finds: a subset of them is built and compared again."""

import time
from multiprocessing.pool import ThreadPool

import pytest

pytest.importorskip("transformers")

from benchmarks.zoo import one_by_one
from benchmarks.zoo.agreement import Agreement, agreement
from benchmarks.zoo.results import COLUMNS, SUBSET, cells_of, read, totals
from benchmarks.zoo.tiny_models import ARCHITECTURES


@pytest.mark.parametrize("architecture", SUBSET)
@pytest.mark.filterwarnings("ignore")  # of constructors that are not ours
def test_an_architecture_has_the_rows_of_its_line(architecture: str) -> None:
    assert cells_of(agreement(architecture)) == read()[architecture]


def test_the_committed_table_has_whole_lines_in_order() -> None:
    lines = read()
    assert set(SUBSET) <= lines.keys() <= set(ARCHITECTURES)
    assert all(tuple(line) == COLUMNS for line in lines.values())
    assert list(lines) == sorted(lines)


def test_one_that_hangs_has_a_line_and_the_next_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(name: str) -> Agreement:
        time.sleep(1 if name == "hangs" else 0)
        return Agreement(name, "One")

    monkeypatch.setattr(one_by_one, "_worker", lambda: ThreadPool(1))
    monkeypatch.setattr(one_by_one, "agreement", look)
    first, second, third = one_by_one.agreements(["one", "hangs", "two"], limit=0.2)
    assert (first.model, third.model) == ("One", "One")
    assert not second.built and second.reason == "not built: no answer within 0.2 s"


def test_totals_tell_what_is_not_the_same_and_why() -> None:
    same = Agreement("one", "One", live=3, file=3, same_names=3, same_alphas=3, read_back="same", multiplied=3)
    apart = Agreement("two", "Two", live=3, file=2, same_names=2, same_alphas=2, other=1, other_names=("a.gate.0",))
    text = totals([same, apart, Agreement("three", reason="not built: no model class")])
    assert same.identical and not apart.identical
    assert "3 architectures, 2 built, 5 rows" in text
    assert "identical names, rows and alphas: 1; exceptions: 1" in text
    assert "the same names once `from_pretrained` has read the file: 1; others: 1" in text
    assert "   1  no reason is known" in text and "   1  not built: no model class" in text
    assert "rows in `other`: 1" in text and "   1  gate" in text
