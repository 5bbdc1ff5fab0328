"""A training run by other estimators: what the history holds, and how far they moved."""

import math
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from alpha_callbacks.comparison.history_estimators import (
    chosen_estimators,
    estimator_findings,
    history_summaries,
    late_estimators,
)
from alpha_callbacks.comparison.read_history import AlphaHistory, read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.tables.history_columns import ESTIMATES, HISTORY
from alpha_callbacks.tables.table import Table
from tests.support.rows import LAYERS, row, snapshot


def fitted(shift: float, layers: tuple[str, ...] = LAYERS) -> Table:
    """Return a table with fits by csn, whose ranges are alpha - 0.1 to alpha + 0.1, and by half."""
    fits = [(3.0 + i + shift, 2.0 + i + shift) for i in range(len(layers))]
    return Table.from_rows(
        [
            row(name, "fp32", 2.0, estimates=(
                TailEstimate("csn", csn, 7, low=csn - 0.1, high=csn + 0.1), TailEstimate("half", half, 24)))
            for name, (csn, half) in zip(layers, fits, strict=True)
        ],
        ("fp32",),
    )  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> AlphaHistory:
    written = History(tmp_path / HISTORY)
    for step, shift in ((0, 0.0), (10, 0.5), (20, -0.25)):
        written.append(snapshot(step, fitted(shift)))
    return read_history(tmp_path)


def test_alphas_and_ranges_come_back(history: AlphaHistory) -> None:
    assert history.estimators == ("csn", "half") and history.lacking == ()
    assert history.series(value="csn_alpha").values.tolist() == [
        [3.0 + i, 3.5 + i, 2.75 + i] for i in range(len(LAYERS))
    ]
    assert history.series(value="csn_low").values[0] == pytest.approx([2.9, 3.4, 2.65])


def test_moves_from_the_first_state_to_the_last(history: AlphaHistory) -> None:
    csn, half = history_summaries(history, chosen_estimators(history, ()))
    assert (csn.estimator, csn.count, csn.median, csn.rises, csn.falls, csn.moved) == ("csn", 4, -0.25, 0, 4, 4)
    assert (half.count, half.median, half.falls) == (4, -0.25, 4) and half.moved is not None and half.moved < 4
    told = estimator_findings(history, ("csn",))
    assert told == ["By csn the median change is -0.25 in 4 layers; 0 rise, 4 fall, 4 moved."]


def test_a_layer_with_one_fit_has_no_move_and_ranges_that_meet_are_no_move(tmp_path: Path) -> None:
    written = History(tmp_path / HISTORY)
    lost = Table.from_rows(
        [replace(one, estimates=() if one.layer_name == "lm_head" else one.estimates) for one in fitted(0.15)],
        ("fp32",),
    )
    for step, table in ((0, fitted(0.0)), (1, lost)):
        written.append(snapshot(step, table))
    (csn,) = history_summaries(read_history(tmp_path), ("csn",))
    assert (csn.count, csn.moved) == (3, 0) and csn.median == pytest.approx(0.15)


def test_names_that_the_run_lacks_are_refused(history: AlphaHistory) -> None:
    assert chosen_estimators(history, ("half", "hill")) == ("half",) and chosen_estimators(history, ("hill",)) == ()
    with pytest.raises(OptionError, match=r"expected fits by tpl in .*, csn, half are in it. Train with estimators="):
        chosen_estimators(history, ("csn", "tpl"))


def test_a_file_without_these_columns_is_continued(history: AlphaHistory) -> None:
    frame = pandas.read_csv(history.path, dtype=str, keep_default_na=False)
    frame.drop(columns=list(ESTIMATES)).to_csv(history.path, index=False)
    old = read_history(history.path)
    assert old.lacking == tuple(ESTIMATES) and old.estimators == () == chosen_estimators(old, ())
    History(history.path).append(snapshot(30, fitted(1.0)))
    values = read_history(history.path).series(value="csn_alpha").values[0]
    assert values[-1] == 4.0 and all(map(math.isnan, values[:-1]))


def test_fits_that_begin_later_than_the_run_are_told(history: AlphaHistory) -> None:
    assert late_estimators(history, ("csn", "half")) == []
    frame = pandas.read_csv(history.path, dtype=str, keep_default_na=False)
    frame.loc[frame["step"] == "0", ["csn_alpha", "csn_low", "csn_high", "half_alpha"]] = ""
    frame.to_csv(history.path, index=False)
    late = read_history(history.path)
    sentence = "Fits by csn and half are of the steps 10 to 20 only, and so is their change."
    assert late_estimators(late, ("csn", "half")) == [sentence]
    assert estimator_findings(late, ("csn",))[-1] == sentence.replace(" and half", "")
