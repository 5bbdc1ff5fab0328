import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alpha_integrations.loggers import logger_rows, wandb_sink
from alpha_integrations.loggers.logger_rows import columns, layer_scalars, table_rows
from alpha_integrations.loggers.wandb_charts import MOST_BARS, bar_charts
from alpha_integrations.loggers.wandb_sink import WandbSink, find_wandb
from PIL import Image

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Earlier, Snapshot
from alpha_callbacks.tables.results_csv import RESULTS, SUMMARY
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.layer_names import block_index
from tests.support.wandb_offline import OfflineRun, read_offline_run

wandb = pytest.importorskip("wandb")

PRECISIONS = ("fp32", "bf16")
LAYERS = ("model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    wandb.finish()
    wandb.teardown()  # its settings keep the environment of the first run of a process


def make_row(name: str, precision: str = "fp32", alpha: float = 4.0, **changes: Any) -> Row:
    row = Row(
        name, categorize(name), block_index(name), 256, 512, "bf16", "", precision, "ok", alpha=alpha, alpha_null=7.5,
        k_used=25, n_eigs=256, method="computed",
    )  # fmt: skip
    return replace(row, **changes)


def lost(row: Row) -> Row:
    return replace(row, status="non_finite", reason="3 weights overflow", alpha=math.nan, method="")


def make_table(names: tuple[str, ...] = LAYERS, precisions: tuple[str, ...] = PRECISIONS, shift: float = 0.0) -> Table:
    return Table.from_rows(
        [
            make_row(n, p, math.pi + shift + i / 7 + j / 900)
            for i, n in enumerate(names)
            for j, p in enumerate(precisions)
        ],
        precisions,
    )


def make_snapshot(step: int, table: Table | None = None, *, epoch: float | None = 0.5) -> Snapshot:
    snapshot = Snapshot(step, epoch, "checkpoint", table or make_table(shift=step / 1e4), seconds=1.25)
    snapshot.__dict__["images"] = {"bars_attn_q": PIXELS, "heat_alpha_ratio": 255 - PIXELS}  # drawing has its own tests
    return snapshot


def make_host(folder: Path, *offers: Any, **changes: Any) -> Host:
    return Host(folder / "alpha_hill", offers, **{"step_key": "train/global_step", **changes})


def start(**options: Any) -> Any:
    return wandb.init(project="test", **options)


def log_once(folder: Path, snapshot: Snapshot, **changes: Any) -> dict[str, Any]:
    run = start()
    WandbSink(make_host(folder, **changes), run).log(snapshot)
    run.finish()
    (row,) = read_offline_run(folder).rows
    return row


class WandbCallback:
    """As in transformers: starts the run when training begins."""

    def setup(self) -> None:
        wandb.init(project="test")
        wandb.define_metric("train/global_step")
        wandb.define_metric("*", step_metric="train/global_step", step_sync=True)


def test_one_history_row_a_snapshot_with_exact_values(tmp_path: Path) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path), run)
    snapshots = [make_snapshot(10), make_snapshot(20)]
    for snapshot in snapshots:
        sink.log(snapshot)
        run.log({"train/loss": 1.0})
    run.finish()

    rows = read_offline_run(tmp_path).rows
    assert len(rows) == 2
    for row, snapshot in zip(rows, snapshots, strict=True):
        assert row["alpha_hill/step"] == row["train/global_step"] == snapshot.step
        assert row["alpha_hill/epoch"] == 0.5
        assert {name: row[f"alpha_hill/{name}"] for name in snapshot.scalars} == snapshot.scalars
        layers = {key: value for key, value in row.items() if key.startswith("alpha_hill_layers_")}
        short = ("model_embed_tokens", "00_self_attn_q_proj", "11_mlp_down_proj", "lm_head")
        assert layers == {
            f"alpha_hill_layers_{r.precision}/{short[LAYERS.index(r.layer_name)]}": r.alpha for r in snapshot.table
        }


def test_rows_survive_a_framework_that_logs_bigger_steps(tmp_path: Path) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path), run)
    run.log({"train/loss": 1.0}, step=500)
    sink.log(make_snapshot(10))
    run.log({"train/loss": 0.5}, step=900)
    sink.log(make_snapshot(20))
    run.log({"train/loss": 0.2}, step=1200)
    run.finish()

    rows = read_offline_run(tmp_path).rows
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1.0, 0.5, 0.2]
    assert [row["alpha_hill/step"] for row in rows if "alpha_hill/step" in row] == [10, 20]


SCRIPTS = ("0m01m1", "m0m0m1m1", "0mm01mm1mmx", "+m+m+", "-m+-mm+x", "mmmx", "0m0mmm0m1m1x", "m+mmx+", "mm0x", "0mx0m1")


def test_nothing_of_a_users_row_is_lost_in_any_order_of_calls(tmp_path: Path) -> None:
    """In a script a digit is a row of the user's at that step, "+" one without a step, "-" one that stays open.

    "m" is a state that the sink logs, "x" closes the sink.
    """
    run, host, logged, taken = start(), make_host(tmp_path, images=False), dict[str, int](), list[int]()
    for number, script in enumerate(SCRIPTS):
        sink = WandbSink(host, run)
        for place, sign in enumerate(script):
            moment = 100 * number + place
            if sign == "m":
                sink.log(make_snapshot(moment))
                taken.append(moment)
            elif sign == "x":
                sink.close()
            else:
                options = (
                    {"step": 100 * number + int(sign)} if sign.isdigit() else {"commit": False} if sign == "-" else {}
                )
                logged[f"mine/{moment}"] = moment
                run.log({f"mine/{moment}": moment}, **options)
        sink.close()
    run.finish()
    rows = read_offline_run(tmp_path).rows
    assert {key: value for row in rows for key, value in row.items() if key.startswith("mine/")} == logged
    assert [row["alpha_hill/step"] for row in rows if "alpha_hill/step" in row] == taken, "no state is lost either"


def test_values_of_no_snapshot_join_the_open_row_and_lose_nothing_of_the_users(tmp_path: Path) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path), run)
    for step in (2, 4):
        sink.log_values({"alpha_control/lr_max": 1.5 * step}, {"alpha_control_lr/fc": float(step)}, step)
        run.log({"loss": step / 8})
    sink.log_values({"alpha_control/lr_max": 9.0}, {}, 6)
    sink.close()
    run.finish()
    found = read_offline_run(tmp_path)
    rows = [{key: value for key, value in row.items() if not key.startswith("_")} for row in found.rows]
    for row in rows:
        assert row.pop("alpha_hill/step") == row.pop("train/global_step")
    assert rows == [
        {"alpha_control/lr_max": 3.0, "alpha_control_lr/fc": 2.0, "loss": 0.25},
        {"alpha_control/lr_max": 6.0, "alpha_control_lr/fc": 4.0, "loss": 0.5},
        {"alpha_control/lr_max": 9.0},
    ]
    assert found.metrics["alpha_control_lr/fc"].options.hidden and found.user_artifacts() == []


def test_states_that_wait_for_a_row_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path, images=False), run)
    for step in range(4):
        sink.log(make_snapshot(step))
    own = [record for record in caplog.records if record.name == wandb_sink.__name__]
    assert [record.message.partition(",")[0] for record in own] == [
        "alpha_hill: W&B shows one state per row that is logged to the run"
    ]
    run.finish()
    sink.close()
    assert "3 states of" in caplog.text and "did not reach W&B" in caplog.text


def test_picture_table_and_histogram_are_files_with_content(tmp_path: Path) -> None:
    run = start()
    snapshot = make_snapshot(7)
    WandbSink(make_host(tmp_path), run).log(snapshot)
    run.finish()

    written = read_offline_run(tmp_path)
    (row,) = written.rows
    for name, pixels in snapshot.images.items():
        picture = row[f"alpha_hill/{name}"]
        assert picture["_type"] == "image-file" and picture["path"] in written.files
        assert picture["caption"] == "step 7, checkpoint"
        with Image.open(written.media(picture)) as image:
            assert np.array_equal(np.asarray(image), pixels)

    table = written.table(row["alpha_hill/table"])
    assert row["alpha_hill/table"]["path"] in written.files
    assert table["columns"] == list(columns(snapshot.table))
    assert table["data"] == table_rows(snapshot.table, 7)
    assert [line[5] for line in table["data"]] == [r.alpha for r in snapshot.table]

    for precision in PRECISIONS:
        histogram = row[f"alpha_hill/dist_{precision}"]
        alphas = snapshot.table.alphas(precision)
        assert sum(histogram["values"]) == len(LAYERS)
        assert (histogram["bins"][0], histogram["bins"][-1]) == (min(alphas), max(alphas))


def test_nan_is_none_in_the_table_and_absent_elsewhere(tmp_path: Path) -> None:
    rows = [make_row(name, p, 3.0 + i) for i, name in enumerate(LAYERS) for p in PRECISIONS]
    table = Table.from_rows([lost(row) if row.precision == "bf16" else row for row in rows], PRECISIONS)
    run = start()
    WandbSink(make_host(tmp_path), run).log(make_snapshot(3, table, epoch=None))
    run.finish()

    written = read_offline_run(tmp_path)
    (row,) = written.rows
    assert "alpha_hill/epoch" not in row
    assert not [key for key in row if key.startswith("alpha_hill_layers_bf16/")]
    assert len([key for key in row if key.startswith("alpha_hill_layers_fp32/")]) == len(LAYERS)
    assert "alpha_hill/dist_bf16" not in row and "alpha_hill/mean_bf16" not in row
    assert row["alpha_hill/failed_layers"] == len(LAYERS)
    lines = {(line[1], line[4]): line for line in written.table(row["alpha_hill/table"])["data"]}
    spread = table.layers[-1]["fp32"].alpha_spread
    assert lines["lm_head", "bf16"][5:] == [*[None] * 7, "", "", "non_finite", "3 weights overflow"]
    assert lines["lm_head", "fp32"][5:] == [6.0, 0.8, 0.0, *[None] * 3, spread, "", "", "ok", ""]


def test_every_key_gets_our_axis_beside_a_frameworks_star(tmp_path: Path) -> None:
    """Two globs that fit: W&B takes either, key by key; so with globs some of these 200 summaries would be there."""
    WandbCallback().setup()
    table = make_table(tuple(f"layers.{i}.fc1" for i in range(100)))
    WandbSink(make_host(tmp_path), wandb.run).log(make_snapshot(5, table))
    wandb.log({"train/loss": 1.0, "train/global_step": 6})
    wandb.finish()

    written = read_offline_run(tmp_path)
    assert not written.metrics["alpha_hill/step"].step_metric
    for key in written.rows[0]:
        if key.startswith("alpha_hill") and key != "alpha_hill/step":
            metric = written.metrics[key]
            hidden = key.startswith("alpha_hill_layers_")
            assert metric.step_metric == "alpha_hill/step"
            assert (metric.options.hidden, metric.summary.none) == (hidden, hidden)
    assert not [key for key in written.summary if key.startswith("alpha_hill_layers_")]
    assert written.summary["alpha_hill/mean_fp32"] == written.rows[0]["alpha_hill/mean_fp32"]
    assert written.rows[0]["train/loss"] == 1.0, "the row that was open when we came"


def test_host_decides_about_step_key_layers_and_images(tmp_path: Path) -> None:
    row = log_once(tmp_path, make_snapshot(1), step_key="", per_layer_scalars=False, images=False)
    assert not [key for key in row if "global_step" in key or "layers_" in key or "bars" in key or "heat" in key]
    assert row["alpha_hill/step"] == 1


def test_images_of_the_first_the_last_and_every_nth_state(tmp_path: Path) -> None:
    run, sink = start(), None
    sink = WandbSink(make_host(tmp_path, images=10), run)
    for step in range(25):
        sink.log(make_snapshot(step))
        run.log({"loss": 1.0})
    sink.close()
    run.finish()
    written = read_offline_run(tmp_path)
    shown = [row["alpha_hill/step"] for row in written.rows if "alpha_hill/bars_attn_q" in row]
    assert shown == [0, 10, 20, 24]
    tables = [row["alpha_hill/table"] for row in written.rows if "alpha_hill/table" in row]
    assert [written.table(table)["data"][0][0] for table in tables] == list(range(25))  # their column "step" joins them


def test_layers_that_moved_most_have_a_table(tmp_path: Path) -> None:
    run, first = start(), make_snapshot(1)
    sink = WandbSink(make_host(tmp_path, images=0), run)
    sink.log(first)
    run.log({"loss": 1.0})
    later = make_snapshot(2)
    sink.log(replace(later, earlier=first.later()))
    run.finish()
    written = read_offline_run(tmp_path)
    assert "alpha_hill/moves" not in written.rows[0]
    data = written.table(written.rows[1]["alpha_hill/moves"])["data"]
    assert len(data) == len(LAYERS) and data[0][0] == 2 and data[0][1] in LAYERS
    assert [row[4] for row in data] == pytest.approx([1e-4] * len(LAYERS))


def test_the_layers_to_look_at_have_bar_charts_of_a_panels_size(tmp_path: Path) -> None:
    names = [f"model.layers.{block}.mlp.{part}_proj" for block in range(12) for part in ("up", "down")]
    rows = [
        make_row(
            name, p, 3.0 + (7 * i % 24) / 10, relative_error=0.1 + (5 * i % 24) / 1000 if p == "int4_g32" else 0.0,
            tail="none" if i == 0 else "clear",
        )
        for i, name in enumerate(names)
        for p in ("fp32", "int4_g32")
    ]  # fmt: skip
    table = Table.from_rows(rows, ("fp32", "int4_g32"))
    alphas = {row.layer_name: row.alpha for row in rows if row.precision == "fp32"}
    before = {name: alphas[name] - (0.5 if name.endswith("5.mlp.up_proj") else 0.0) for name in names}
    snapshot = replace(make_snapshot(20, table), earlier=Earlier(10, before))
    charts = bar_charts(snapshot)
    assert [(chart.spec.spec_name, chart.spec.string_fields["title"]) for chart in charts.values()] == [
        ("wandb/bar/v0", "Largest errors at int4_g32, median 11.2 %, step 20"),
        ("wandb/bar/v0", "Heaviest clear tails, step 20"),
        ("wandb/bar/v0", "Largest moves of alpha, step 10 to 20"),
    ]
    snapshot.__dict__["images"] = {}
    row = log_once(tmp_path, snapshot)
    written = read_offline_run(tmp_path)
    shown = {
        key: dict(written.table(row[f"Custom Chart Tables/alpha_hill/{key}_table"])["data"])
        for key in ("largest_errors", "heaviest_tails", "largest_moves")
    }
    assert shown["largest_moves"] == {"05_mlp_up_proj": pytest.approx(0.5)}
    assert len(shown["largest_errors"]) == len(shown["heaviest_tails"]) == MOST_BARS
    assert all(f"alpha_hill_layers_fp32/{layer}" in row for bars in shown.values() for layer in bars)
    assert list(shown["largest_errors"]) == sorted(shown["largest_errors"]), "in the order of the model"
    errors = sorted((100 * r.relative_error for r in rows if r.precision == "int4_g32"), reverse=True)
    above = [error - np.median(errors) for error in errors[:MOST_BARS]]
    assert sorted(shown["largest_errors"].values(), reverse=True) == pytest.approx(above)
    ratios = sorted(r.alpha_ratio for r in rows if r.precision == "fp32" and r.tail == "clear")[:MOST_BARS]
    assert sorted(shown["heaviest_tails"].values()) == pytest.approx(ratios)
    assert not [key for key in written.metrics if key.startswith("alpha_hill/largest")], "a chart is no key of a row"


def test_a_bar_chart_leaves_out_what_is_no_number() -> None:
    rows = [make_row(name, alpha_null=math.nan if name == "lm_head" else 7.5, tail="clear") for name in LAYERS[2:]]
    (chart,) = bar_charts(make_snapshot(1, Table.from_rows(rows, ("fp32",)))).values()
    assert chart.table.data == [["11_mlp_down_proj", 4.0 / 7.5]]


def test_colliding_layer_names_stay_apart() -> None:
    names = (
        "encoder.layers.0.fc1",
        "decoder.layers.0.fc1",
        "layers.1.a.b",
        "layers.1.a_b",
        "layers.1.a-b",
        "layers.1.only",
        "layers.104.x",
    )
    keys = layer_scalars(make_table(names, ("fp32",)))
    assert [key.removeprefix("alpha_hill_layers_fp32/") for key in keys] == [
        "000_encoder_layers_0_fc1",
        "000_decoder_layers_0_fc1",
        "001_layers_1_a_b_172a98",
        "001_layers_1_a_b_c90208",
        "001_layers_1_a_b_bbcd96",
        "001_only",
        "104_x",
    ]
    assert list(keys.values()) == [row.alpha for row in make_table(names, ("fp32",))]


def test_a_name_does_not_depend_on_the_status_of_others() -> None:
    rows = [make_row(name) for name in ("layers.1.a.b", "layers.1.a_b")]
    whole = layer_scalars(Table.from_rows(rows, ("fp32",)))
    part = layer_scalars(Table.from_rows([lost(rows[0]), rows[1]], ("fp32",)))
    assert list(part) == list(whole)[1:]


def test_many_experts_are_left_out_and_the_table_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wandb_sink.MAX_TABLE_ROWS == wandb.Table.MAX_ROWS
    for module in (wandb_sink, logger_rows):
        monkeypatch.setattr(module, "MAX_TABLE_ROWS", 2000)
    experts = tuple(f"layers.{i}.mlp.experts.{j}.up_proj" for i in range(11) for j in range(100))
    table = make_table((*experts, "lm_head"))
    assert list(layer_scalars(table)) == [f"alpha_hill_layers_{name}/lm_head" for name in PRECISIONS]
    assert len(layer_scalars(make_table((*experts[:999], "lm_head")))) == 2000

    run = start()
    sink = WandbSink(make_host(tmp_path, images=False), run)
    for step in (1, 2):
        sink.log(make_snapshot(step, table))
        run.log({"train/loss": 1.0})
    run.finish()
    written = read_offline_run(tmp_path)
    cut = written.table(written.rows[1]["alpha_hill/table"])
    data, name = cut["data"], cut["columns"].index("layer_name")
    assert len(data) == 2000
    assert [line[name] for line in data[:3]] == ["lm_head", "lm_head", experts[0]]
    assert [record.message for record in caplog.records if record.name == wandb_sink.__name__] == [
        "alpha_hill: the W&B table holds 2000 of 2202 rows; the CSV has all."
    ]


def close_after(folder: Path, *steps: int, finish_first: bool = False, run_id: str | None = None) -> OfflineRun:
    host = make_host(folder)
    run = start(id=run_id)
    sinks: list[Sink] = [CsvSink(host), WandbSink(host, run)]
    for step in steps:
        for sink in sinks:
            sink.log(make_snapshot(step))
    if finish_first:
        run.finish()
    for sink in sinks * 2:
        sink.close()
    if not finish_first:
        run.log({"still": "open"})
        run.finish()
    return read_offline_run(folder)


def test_close_logs_one_artifact_with_the_csv_files(tmp_path: Path) -> None:
    later = tmp_path / "alpha_hill" / "step_00000900"  # of a run that went on from an earlier checkpoint
    later.mkdir(parents=True)
    (later / RESULTS).write_text("old")
    written = close_after(tmp_path, 90, 100)

    (artifact,) = written.user_artifacts()
    assert (artifact.name, artifact.type) == (f"alpha-hill-{written.run_id}", "dataset")
    assert json.loads(artifact.metadata) == {"step": 100}
    folder = tmp_path / "alpha_hill"
    sources = {
        "alpha_hill_history.csv": folder / "alpha_hill_history.csv",
        RESULTS: folder / "step_00000100" / RESULTS,
        SUMMARY: folder / "step_00000100" / SUMMARY,
    }
    entries = {entry.path: entry for entry in artifact.manifest.contents}
    assert {name: entry.size for name, entry in entries.items()} == {
        name: path.stat().st_size for name, path in sources.items()
    }
    assert written.rows[-1]["still"] == "open"


def test_the_artifact_name_holds_for_any_run_id(tmp_path: Path) -> None:
    (artifact,) = close_after(tmp_path, 1, run_id="my run-1.5+x").user_artifacts()
    assert artifact.name == "alpha-hill-my_run-1.5_x"


def test_close_without_snapshots_or_files_logs_nothing(tmp_path: Path) -> None:
    assert close_after(tmp_path).user_artifacts() == []
    run = start()
    sink = WandbSink(make_host(tmp_path / "elsewhere"), run)
    sink.log(make_snapshot(1))
    sink.close()
    run.log({"still": "open"})


def test_close_after_the_run_was_finished_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger=wandb_sink.__name__):
        written = close_after(tmp_path, 1, finish_first=True)
    assert written.user_artifacts() == []
    (record,) = [record for record in caplog.records if record.name == wandb_sink.__name__]
    assert "are not in W&B" in record.message and "is finished" in record.message


def test_a_sink_used_again_after_close_makes_a_new_version(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    run = start()
    sinks: list[Sink] = [CsvSink(host), WandbSink(host, run)]
    for step in (1, 2):
        for sink in sinks:
            sink.log(make_snapshot(step))
            sink.close()
    run.finish()
    artifacts = read_offline_run(tmp_path).user_artifacts()
    assert [json.loads(artifact.metadata) for artifact in artifacts] == [{"step": 1}, {"step": 2}]


def test_finds_a_run_once_and_prefers_offers(tmp_path: Path) -> None:
    run = start()

    class WandbLogger:
        experiment = run

    class Derived(WandbLogger):
        pass

    logger = Derived()
    (sink,) = find_wandb(make_host(tmp_path, object(), logger, run, WandbCallback()), asked=False)
    assert isinstance(sink, WandbSink) and isinstance(sink, Sink)
    assert sink.run is run and sink.adopted is logger
    (sink,) = find_wandb(make_host(tmp_path, run), asked=True)
    assert isinstance(sink, WandbSink) and sink.adopted is run
    (sink,) = find_wandb(make_host(tmp_path, object()), asked=False)
    assert isinstance(sink, WandbSink) and sink.run is run and sink.adopted is None

    other = start(reinit="create_new")
    assert len(find_wandb(make_host(tmp_path, run, other), asked=False)) == 2
    other.finish()


def test_what_only_looks_like_a_run_is_not_taken(tmp_path: Path) -> None:
    assert find_wandb(make_host(tmp_path, SimpleNamespace(log=print), logging, wandb), asked=False) == []


def test_no_run_is_an_error_only_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_wandb(make_host(tmp_path), asked=False) == []
    with pytest.raises(OptionError, match=r'expected an active W&B run for "wandb", got none\. Call wandb\.init\(\)'):
        find_wandb(make_host(tmp_path), asked=True)
    monkeypatch.setattr(wandb_sink.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[wandb\]"):
        find_wandb(make_host(tmp_path), asked=True)


def test_run_that_appears_when_training_begins(tmp_path: Path) -> None:
    callback = WandbCallback()
    (sink,) = find_wandb(make_host(tmp_path, callback, WandbCallback()), asked=True)
    assert isinstance(sink, WandbSink) and sink.run is None and sink.adopted is callback
    sink.close()
    with pytest.raises(OptionError, match=r"expected the W&B run of the Trainer's WandbCallback, got none"):
        sink.log(make_snapshot(2))
    callback.setup()
    wandb.log({"train/loss": 1.0, "train/global_step": 3})
    sink.log(make_snapshot(4))
    wandb.log({"train/loss": 0.5, "train/global_step": 6})
    wandb.finish()

    rows = read_offline_run(tmp_path).rows
    assert [(row["train/global_step"], row.get("alpha_hill/step")) for row in rows] == [(3, None), (6, 4)]


def test_a_disabled_run_takes_everything(tmp_path: Path) -> None:
    run = start(mode="disabled")
    (sink,) = find_wandb(make_host(tmp_path, run), asked=True)
    sink.log(make_snapshot(1))
    CsvSink(make_host(tmp_path)).log(make_snapshot(1))
    sink.close()
    assert isinstance(sink, WandbSink) and (tmp_path / "alpha_hill" / "alpha_hill_history.csv").exists()


def test_lightning_logger(tmp_path: Path) -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    logger = loggers.WandbLogger(project="test", save_dir=tmp_path, offline=True)
    host = make_host(tmp_path, logger, step_key="trainer/global_step")
    (sink,) = find_wandb(host, asked=False)
    assert isinstance(sink, WandbSink) and sink.run is logger.experiment and sink.adopted is logger
    logger.log_metrics({"loss": 1.0}, step=40)
    sink.log(make_snapshot(50))
    logger.log_metrics({"loss": 0.5}, step=60)
    sink.close()
    logger.finalize("success")
    wandb.finish()

    rows = read_offline_run(tmp_path).rows
    assert [(row["trainer/global_step"], row.get("alpha_hill/step")) for row in rows] == [(40, None), (60, 50)]


def test_importing_the_module_does_not_import_wandb() -> None:
    code = (
        "import sys, alpha_integrations.loggers.wandb_sink as sink; assert 'wandb' not in sys.modules; import wandb; "
    )
    code += "assert 'wandb' in sys.modules; assert sink.find_wandb(sink.Host(None), asked=False) == []"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_run_that_was_finished_in_mid_training_is_no_wait(tmp_path: Path) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path), run)
    sink.log(make_snapshot(10))
    run.finish()
    begun = time.monotonic()
    for step in (20, 30):
        with pytest.raises(wandb.errors.UsageError, match="is finished"):
            sink.log(make_snapshot(step))
    sink.close()
    assert time.monotonic() - begun < 10 and not sink._waiting, "W&B waits 30 s for the step of such a run"


def test_a_disabled_run_takes_every_state(tmp_path: Path) -> None:
    run = wandb.init(mode="disabled")
    sink = WandbSink(make_host(tmp_path), run)
    for step in (10, 20, 30):
        sink.log(make_snapshot(step))
    sink.close()
    run.finish()
    assert not sink._waiting


def test_a_state_without_its_charts_has_its_numbers_and_charts_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path, images=1), run)
    table = make_table()
    with monkeypatch.context() as patch:
        patch.setattr(WandbSink, "_pictures", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sink.log(make_snapshot(10, table))
    run.log({"train/loss": 1.0})
    sink.log(make_snapshot(20, table))  # nothing has changed
    run.finish()
    first, second = read_offline_run(tmp_path).rows
    assert first["alpha_hill/step"] == 10 and "alpha_hill/bars_attn_q" not in first
    assert second["alpha_hill/step"] == 20 and "alpha_hill/bars_attn_q" in second


def test_infinite_alphas_and_a_layer_without_a_name(tmp_path: Path) -> None:
    table = Table.from_rows([make_row("lm_head", alpha=math.inf), make_row("")], ("fp32",))
    with np.errstate(invalid="ignore"):  # of the quartiles
        row = log_once(tmp_path, make_snapshot(10, table))
    assert row["alpha_hill_layers_fp32/unnamed"] == 4.0
    assert sum(row["alpha_hill/dist_fp32"]["values"]) == 1


def test_charts_that_fail_at_the_end_cost_no_state_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    sink = WandbSink(make_host(tmp_path, images=10), run)
    sink.log(make_snapshot(10))
    sink.log(make_snapshot(20))
    monkeypatch.setattr(WandbSink, "_pictures", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sink.close()
    run.finish()
    assert [row["alpha_hill/step"] for row in read_offline_run(tmp_path).rows] == [10, 20]
