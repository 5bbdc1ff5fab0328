"""history.html: what it says, and what it does in a browser."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from alpha_callbacks.comparison.read_history import AlphaHistory, read_history
from alpha_callbacks.comparison.run_losses import read_losses
from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.report.history_page import history_page
from alpha_callbacks.report.packing import unpacked
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.table import Table
from tests.support.pages import NASTY, Opened, opened
from tests.support.rows import row, snapshot, table

NAMES = (NASTY, *(f"model.layers.{i}.mlp.up_proj" for i in range(1, 4)), "lm_head")


def run(folder: Path, *tables: Table) -> AlphaHistory:
    history = History(folder / HISTORY)
    for i, one in enumerate(tables):
        history.append(snapshot(i * 50, one))
    return read_history(folder)


@pytest.fixture
def history(tmp_path: Path) -> AlphaHistory:
    lost = Table.from_rows([row(n, "fp32", 3.0, status="failed", reason=NASTY) for n in NAMES[:1]], ("fp32",))
    return run(tmp_path / NASTY.replace("/", "_")[:40], table(NAMES), lost, table(NAMES, shift=0.5))


def data_of(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data-map">(.*?)</script>', html)
    assert found
    return dict(json.loads(found[1]))


def test_everything_works_offline_and_a_name_does_nothing(history: AlphaHistory) -> None:
    log = [{"loss": 2.0 - i / 50, "step": i, NASTY: 1.0} for i in range(0, 100, 10)] + [
        {f"eval_loss{NASTY}": 1, "step": 9}
    ]
    (history.path.parent / "trainer_state.json").write_text(
        json.dumps({"log_history": [*log, {**log[-1], "step": 50}]})
    )
    with opened(history_page(history), address="steps=log") as it:
        shown = it.text()
        assert it.page.locator("#panels h3").first.inner_text() == "loss"
        assert it.page.locator("#history-tools [aria-checked=true]").all_inner_texts() == [
            "fp32",
            "change since the start",
        ]
        assert "3\nmeasured states" in shown and "5\ngaps: not measured, or no alpha" in shown
        assert it.page.locator(".js-plotly-plot").count() == 1 + 3 + 1
        rows = it.page.locator("#history-table tbody tr")
        assert rows.count() == 5 and "+0.5" in rows.first.inner_text()
        for choice in ("bf16", "Dark"):
            it.page.get_by_role("radio", name=choice, exact=True).click()
        for choice in ("alpha / noise", "change since the start", "even"):
            for button in it.page.get_by_role("radio", name=choice, exact=True).all():
                button.click()
        it.page.locator("#history-heat").scroll_into_view_if_needed()
        box = it.page.locator("#history-heat .plot-container").bounding_box()
        for share in (0.1, 0.2, 0.4):
            it.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 10 + box["height"] * share)
            it.page.wait_for_timeout(60)


def test_alphas_first_where_weights_were_fresh_and_log_steps_where_states_are(tmp_path: Path) -> None:
    fresh = [replace(one, alpha=5.0) for one in table(NAMES[1:])]  # as noise has it
    history = History(tmp_path / HISTORY)
    for i in range(7):
        fits = [replace(one, estimates=(TailEstimate("csn", 3.25 + i / 6),)) for one in fresh]
        history.append(snapshot(10 * 2**i, Table.from_rows(fits, ("fp32", "bf16"))))
    with opened(history_page(read_history(tmp_path)), charts=False) as it:
        assert it.page.locator("#lines-tools [aria-checked=true]").all_inner_texts() == ["alpha / noise", "logarithmic"]
        it.page.get_by_role("radio", name="bf16", exact=True).click()
        assert it.page.evaluate("location.hash") == "#p=bf16"
        rows = it.page.locator("#history-table tbody tr")
        it.page.get_by_role("radio", name="fp32, csn", exact=True).click()
        assert "have no noise value, so alpha is shown" in it.page.locator("#history-note").inner_text()
        assert "3.25" in rows.first.inner_text() and "4.25" in rows.first.inner_text()


def test_losses_of_the_last_checkpoint_and_of_lightning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "alpha_hill"
    for step in (5, 40, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        log = [{"loss": 3 - i / 100, "step": i} for i in range(0, step + 1, 5)]
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    assert read_losses(folder)["loss"][-1] == (100, 2.0) and read_losses(tmp_path)["loss"][0] == (0, 3.0)
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text("[]")
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss,val_loss\n0,1,2.5,\n0,2,,2.25\n1,3,2.0,\n1,4,nan,2.0\n"
    )
    assert read_losses(folder) == {"train_loss": [(1, 2.5), (3, 2.0)], "val_loss": [(2, 2.25), (4, 2.0)]}
    assert "no loss beside alpha" in caplog.text and "checkpoint-100" in caplog.text


def row_labels(it: Opened) -> tuple[list[str], list[dict[str, float]]]:
    """Return the labels of the map from top to bottom, and where they are."""
    found = it.page.locator("#history-heat .ytick text").evaluate_all(
        "(ticks) => ticks.map((tick) => [tick.getBoundingClientRect().toJSON(), tick.textContent])"
    )
    found.sort(key=lambda one: one[0]["y"])
    return [text for _, text in found], [box for box, _ in found]


def test_every_row_says_which_layer_it_is(tmp_path: Path) -> None:
    convs = tuple(f"net.stage{i}.a_projection_of_the_residual_stream" for i in range(9))
    names = (*convs, *(f"model.layers.{i}.mlp.up_proj" for i in range(3)), "lm_head")
    with opened(history_page(run(tmp_path, table(names), table(names, shift=1)))) as it:
        labels, boxes = row_labels(it)
        assert labels[:4] == ["mlp_up  0", "1", "2", "lm_head"] and labels[4].startswith("other  ")
        assert len(labels) == 13 and all(f"stage{i}." in label for i, label in enumerate(labels[4:]))
        assert all(a["y"] + a["height"] <= b["y"] + 2 for a, b in pairwise(boxes)), "labels overlap"
        keys = it.page.locator("#panels .keys")
        assert keys.count() == 1 and keys.locator("span").count() == 7 and "3 more" in keys.inner_text()
        assert keys.locator("span").first.get_attribute("title") == convs[0]
        it.page.locator("#history-heat").scroll_into_view_if_needed()
        box = it.page.locator("#history-heat .nsewdrag").bounding_box()
        it.page.mouse.move(box["x"] + 20, box["y"] + 4.5 * box["height"] / 13)
        it.page.wait_for_selector("#history-heat .hovertext")
        assert convs[0] in it.page.locator("#history-heat .hovertext").text_content(), "the full name"


def test_many_rows_keep_the_names_and_drop_numbers(tmp_path: Path) -> None:
    blocks = tuple(f"model.layers.{i}.self_attn.{p}_proj" for i in range(60) for p in "qkvo")
    names = (*blocks, "wte", "wpe", "lm_head", "score")
    with opened(history_page(run(tmp_path, table(names))), charts=False) as it:
        it.page.locator("#history-heat").scroll_into_view_if_needed()
        it.page.wait_for_selector("#history-heat .ytick")
        labels, _ = row_labels(it)
        assert {"embedding  wte", "wpe", "lm_head", "head  score"} <= set(labels) and 60 < len(labels) < 180
        assert {"attn_q  0", "attn_k  0", "attn_v  0", "attn_o  0"} <= set(labels)


def test_few_layers_have_a_range_and_no_median(tmp_path: Path) -> None:
    html = history_page(run(tmp_path, table(NAMES[1:]), table(NAMES[1:], shift=0.5)))
    assert "median" not in html.split("<main")[1].split("</main>")[0] and "too few to speak of a trend" in html


def test_the_page_holds_every_value(history: AlphaHistory) -> None:
    data = data_of(history_page(history, precision="bf16"))
    assert data["precisions"] == ["bf16", "fp32"] and data["steps"] == [0, 50, 100]
    assert data["name"] == [NASTY, "model.layers.1.mlp.up_proj", "model.layers.2.mlp.up_proj",
                            "model.layers.3.mlp.up_proj", "lm_head"]  # fmt: skip
    fp32 = unpacked(data["alpha"][1]).reshape(5, 3)  # type: ignore[index]
    np.testing.assert_array_equal(fp32, history.series("fp32").values)  # six digits and small changes are printed
    np.testing.assert_allclose(unpacked(data["alpha_null"]), 5.0, rtol=1e-7)  # type: ignore[arg-type]


def test_a_long_run_stays_below_ten_megabytes(tmp_path: Path) -> None:
    names = tuple(f"model.layers.{i // 7}.x{i % 7}.up_proj" for i in range(225))
    header, *lines = (run(tmp_path / "one", table(names)).path).read_text().splitlines(keepends=True)
    long = tmp_path / HISTORY
    with long.open("w") as file:
        file.write(header)
        for step in range(500):
            file.writelines(f"{step}{line[1:]}" for line in lines)
    history = read_history(long)
    html = history_page(history)
    assert len(html.encode()) < 10e6
    assert len(data_of(html)["steps"]) == 500  # type: ignore[arg-type]


def test_longer_runs_are_thinned_and_experts_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_callbacks.report.history_page._MOST_VALUES", 10)
    monkeypatch.setattr("alpha_callbacks.report.history_page._FEWEST_STEPS", 2)
    monkeypatch.setattr("alpha_callbacks.report.history_page._MOST_LAYERS", 4)
    names = tuple(f"model.layers.0.mlp.experts.{i}.up_proj" for i in range(5))
    html = history_page(run(tmp_path, *(table(names, shift=i) for i in range(20))))
    data = data_of(html)
    steps = data["steps"]
    assert isinstance(steps, list) and (len(steps), steps[0], steps[-1]) == (5, 0, 950)
    assert "5 layers are shown as 1 medians" in html and "5 of 20 states are shown" in html


def test_one_state_without_alpha(tmp_path: Path) -> None:
    lost = Table.from_rows([row("lm_head", "fp32", math.nan, status="degenerate")], ("fp32",))
    with opened(history_page(run(tmp_path, lost))) as it:
        assert "one state, step 0" in it.text()
    assert "first to last" not in history_page(run(tmp_path / "known", table())), "one state has no change"


def test_unknown_precision(history: AlphaHistory) -> None:
    with pytest.raises(OptionError, match="precision: expected one of fp32, bf16"):
        history_page(history, precision="fp16")
