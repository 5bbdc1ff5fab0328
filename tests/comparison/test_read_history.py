"""Reading alpha_hill_history.csv back: what was written, whatever happened in between."""

import math
from pathlib import Path

import numpy as np
import pandas
import pytest

from alpha_callbacks.comparison.history_findings import failed, history_findings
from alpha_callbacks.comparison.history_series import by_category, change, folded, spaced, thinned
from alpha_callbacks.comparison.read_history import find_history, read_history
from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.tables.history_columns import HISTORY, LATER
from alpha_callbacks.tables.table import Table
from tests.support.rows import LAYERS, row, snapshot, table


def written(folder: Path, *snapshots: object) -> Path:
    history = History(folder / HISTORY)
    for one in snapshots:
        history.append(one)  # type: ignore[arg-type]
    return folder / HISTORY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path, *(snapshot(step) for step in (0, 10, 20)))


def test_tables_come_back(path: Path) -> None:
    history = read_history(path)
    assert (history.steps, history.precisions, history.layers) == ((0, 10, 20), ("fp32", "bf16"), LAYERS)
    assert history.reference == "fp32"
    found, expected = history.table(20), table(shift=0.02)
    assert found.precisions == expected.precisions
    same = ("layer_name", "category", "block", "precision", "status", "k_used", "n_eigs", "stderr", "method",
            "stored_dtype")  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
        assert one.alpha == pytest.approx(other.alpha, rel=1e-11)
        assert one.alpha_ratio == pytest.approx(other.alpha_ratio) and one.alpha_null == pytest.approx(5.0)
        assert one.stable_rank == pytest.approx(other.stable_rank)
        assert (one.out_features, one.threshold, one.solver) == (0, "", "")


@pytest.mark.parametrize("lacking", [("relative_size",), ("relative_size", "alerts"), LATER])
def test_a_file_of_an_earlier_version_is_read_and_says_what_it_lacks(path: Path, lacking: tuple[str, ...]) -> None:
    pandas.read_csv(path, dtype=str, keep_default_na=False).drop(columns=list(lacking)).to_csv(path, index=False)
    history = read_history(path)
    assert history.lacking == lacking and read_history(written(path.parent / "new", snapshot(1))).lacking == ()
    assert [row.alpha for row in history.table(20)] == pytest.approx([row.alpha for row in table(shift=0.02)])
    assert all(math.isnan(row.relative_size) for row in history.table(20))


def test_sizes_of_updates_come_back(tmp_path: Path) -> None:
    rows = [row("lm_head", "fp32", 3.0), row("lm_head (update)", "fp32", 2.5, relative_size=0.25)]
    found = read_history(written(tmp_path, snapshot(5, Table.from_rows(rows, ("fp32",))))).table(5)
    assert [one.relative_size for one in found if not math.isnan(one.relative_size)] == [0.25]


@pytest.mark.parametrize("names", [("0", "1"), ("0.10", "0.1"), ("007", "7"), ("True", "False"), ("1e5", "nan")])
def test_layers_whose_names_look_like_numbers(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [row(name, "fp32", 3.0 + i) for i, name in enumerate(names)]
    history = read_history(written(tmp_path, snapshot(5, Table.from_rows(rows, ("fp32",)))))
    assert [(one.layer_name, one.alpha) for one in history.table(5)] == list(zip(names, (3.0, 4.0), strict=True))


def test_series_against_pandas(path: Path) -> None:
    series = read_history(path).series("bf16")
    frame = pandas.read_csv(path)
    pivot = frame[frame.precision == "bf16"].pivot(index="layer_name", columns="step", values="alpha")
    np.testing.assert_array_equal(series.values, pivot.loc[list(series.layers)].to_numpy())
    assert series.blocks == (0, 0, 1, None) and series.categories == ("attn_q", "mlp_up", "attn_q", "lm_head")
    ratios = read_history(path).series("bf16", "alpha_ratio").values
    np.testing.assert_allclose(ratios, series.values / 5)


@pytest.mark.parametrize("where", ["", "alpha_hill"])
def test_folders_of_a_run(tmp_path: Path, where: str) -> None:
    (tmp_path / where).mkdir(exist_ok=True)
    path = written(tmp_path / where, snapshot(5))
    assert find_history(tmp_path) == path and read_history(tmp_path).steps == (5,)
    assert read_history(path).folder(5) == path.parent / "step_00000005"


def test_a_last_line_cut_short_is_left_out(path: Path) -> None:
    with path.open("a") as file:
        file.write('30,3.0,checkpoint,"model.layers')
    assert read_history(path).steps == (0, 10, 20)


@pytest.mark.parametrize("steps", [(0, 10, 0), (0, 0), (0, 10, 5)])
def test_a_history_that_two_runs_wrote_is_refused(tmp_path: Path, steps: tuple[int, ...]) -> None:
    lines: list[str] = []
    for number, step in enumerate(steps):
        header, *rows = written(tmp_path / str(number), snapshot(step)).read_text().splitlines(keepends=True)
        lines = [*(lines or [header]), *rows]
    path = tmp_path / "alpha_hill_history.csv"
    path.write_text("".join(lines))
    with pytest.raises(ResultsError, match="the history of one run, whose steps grow"):
        read_history(path)


def test_changed_layers_gaps_and_names_that_look_like_nothing(tmp_path: Path) -> None:
    names = ("nan", "layers.0.q_proj", "layers.2.q_proj")
    more = ("nan", "layers.0.q_proj", "layers.1.q_proj", "layers.2.q_proj")
    lost = [row(n, "fp32", 3.0, **({"status": "failed", "reason": 'a, "b"\nc'} if n == "nan" else {})) for n in more]
    path = written(tmp_path, snapshot(0, table(names)), snapshot(1, Table.from_rows(lost, ("fp32",))))
    history = read_history(path)
    assert history.layers == ("layers.0.q_proj", "layers.1.q_proj", "layers.2.q_proj", "nan")
    values = history.series().values
    assert np.isnan(values).tolist() == [[False, False], [True, False], [False, False], [False, True]]
    assert history.table(1).layers[0].first.reason == 'a, "b"\nc'
    assert failed(history) == ["nan"]
    told = " ".join(history_findings(history))
    assert "2 layers have steps without alpha (2 in total)" in told


def test_other_options_after_a_resume_are_told(tmp_path: Path) -> None:
    other = Table.from_rows([row(name, "fp32", 3.0, k_used=20) for name in LAYERS], ("fp32",))
    history = read_history(written(tmp_path, snapshot(0), snapshot(10, other)))
    assert history.changed_tail == LAYERS[0]
    assert "cannot be compared" in history_findings(history)[-1]
    assert read_history(written(tmp_path / "same", snapshot(0), snapshot(10))).changed_tail == ""


def test_findings_of_a_run(path: Path) -> None:
    told = history_findings(read_history(path))
    assert told[0] == "4 layers, 3 states, step 0 to 20; alpha at fp32."
    assert "lm_head (5.0000 to 5.0200, +0.02); 4 layers are too few to speak of a trend." in told[1]
    assert "median" not in told[1] and len(told) == 2


def test_findings_of_enough_layers(tmp_path: Path) -> None:
    names = tuple(f"model.layers.{i}.mlp.up_proj" for i in range(8))
    told = history_findings(read_history(written(tmp_path, *(snapshot(i, table(names, shift=i / 50)) for i in (0, 1)))))
    assert (
        "to its last is +0.02 (" in told[1] and "8 rise, 0 fall" in told[1] and told[2].startswith("Largest change: ")
    )


def test_labels_of_rows(tmp_path: Path) -> None:
    names = (*LAYERS, "model.layers.0.self_attn.q_lin", "net.a_head_with_a_name_that_is_much_too_long")
    series = read_history(written(tmp_path, snapshot(0, table(names)))).series()
    assert series.labels[:4] == (LAYERS[0], "0", "1", "lm_head"), "two attn_q in block 0 need their names"
    assert series.labels[4] == names[4]
    assert len(series.labels[5]) <= 32 and series.labels[5].endswith("too_long")
    assert series.named == (True, False, False, True, True, True)


def test_labels_do_not_touch_and_the_first_in_order_wins() -> None:
    places = [0.0, 0.5, 1.0, 1.6, 2.0]
    assert spaced(places, 1.0, range(5)) == [0, 2, 4]
    assert spaced(places, 1.0, [3, *range(5)]) == [0, 3]


def test_medians_outside_blocks_have_no_block(tmp_path: Path) -> None:
    series = folded(read_history(written(tmp_path, snapshot(0, table(("a", "b", "c"))))).series(), 2)
    assert series.layers == ("other, median of 3",)


def test_what_cannot_be_read(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ResultsError, match="expected the history of a training run"):
        read_history(tmp_path / "missing.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="expected the columns step,epoch.*are missing"):
        read_history(tmp_path / "other.csv")
    header = path.read_text().splitlines(keepends=True)[0]
    (tmp_path / "empty.csv").write_text(header)
    with pytest.raises(ResultsError, match="expected at least one measured step, found none"):
        read_history(tmp_path / "empty.csv")
    (tmp_path / "damaged.csv").write_text(path.read_text().replace("\n10,", "\nten,", 1))
    with pytest.raises(ResultsError, match="expected the history of a training run"):
        read_history(tmp_path / "damaged.csv")
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    for column, value in (("block", "inf"), ("block", "-1"), ("k_used", "-5"), ("n_eigs", "9" * 15)):
        frame.assign(**{column: [value, *frame[column][1:]]}).to_csv(tmp_path / "odd.csv", index=False)
        with pytest.raises(ResultsError, match=f"odd.csv: expected a whole number from 0 as {column}, got "):
            read_history(tmp_path / "odd.csv")
    frame.assign(block=["12345678901", *frame["block"][1:]]).to_csv(tmp_path / "far.csv", index=False)
    assert read_history(tmp_path / "far.csv").frame["block"].max() == 12345678901, "an index that a name may have"
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(ResultsError, match="expected"):
        read_history(tmp_path / "binary.csv")


def test_wrong_steps_and_precisions(path: Path) -> None:
    with pytest.raises(OptionError, match=r"expected a measured step \(0, 10, 20\), got 15"):
        read_history(path).table(15)
    with pytest.raises(OptionError, match="precision: expected one of fp32, bf16 for .*, got 'fp16'"):
        read_history(path).series("fp16")


def test_long_runs_are_made_to_fit(path: Path) -> None:
    series = read_history(path).series()
    assert thinned(series, 2).steps == (0, 20) and thinned(series, 3) is series
    few = folded(series, 3)  # no two layers of one category and block: nothing to fold
    assert few.layers == series.layers
    both = folded(read_history(path).series(), 2)
    np.testing.assert_array_equal(both.values, series.values)
    assert by_category(series).categories == ("attn_q", "attn_q", "mlp_up", "lm_head")


def test_medians_of_a_block(tmp_path: Path) -> None:
    names = tuple(f"model.layers.0.mlp.experts.{i}.up_proj" for i in range(5))
    series = folded(read_history(written(tmp_path, snapshot(0, table(names)))).series(), 3)
    assert series.layers == ("moe_expert_up, block 0, median of 5",) and series.values.tolist() == [[4.0]]


def test_change_starts_where_a_layer_is_first_known(path: Path) -> None:
    from dataclasses import replace

    series = read_history(path).series()
    values = series.values.copy()
    values[0, 0], values[1] = math.nan, math.nan
    moved = change(replace(series, values=values)).values
    assert np.isnan(moved[0, 0]) and moved[0, 1] == 0 and moved[0, 2] == pytest.approx(0.01)
    assert np.isnan(moved[1]).all() and moved[2, 0] == 0
