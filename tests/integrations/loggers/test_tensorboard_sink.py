import html
import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorboard", reason='needs: pip install "alpha-callbacks[tensorboard]"')

from alpha_integrations.loggers import tensorboard_sink
from alpha_integrations.loggers.tensorboard_sink import TensorBoardSink, find_tensorboard
from alpha_integrations.loggers.tensorboard_text import alerts_text, escape, tails_text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from alpha_callbacks.errors import MissingExtraError
from alpha_callbacks.sinks.alert import Alert, AlertLine
from alpha_callbacks.sinks.sink import Host, Sink, open_sinks
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Table
from tests.support.chart_tables import THREE, all_lost, computed, lost, make_row, shared
from tests.support.pictures import noise_for_pictures
from tests.support.warm import run_code

HOSTILE = "a|b`c\n<script>"
FIRST = (
    *("median_alpha_ratio", "mean_fp32", "median_fp32", "min_fp32"),
    *("analysed_layers", "max_abs_drift", "failed_layers", "seconds"),
)
SUMMARY = (
    {f"alpha_hill_more/{s}_{p}" for s in ("mean", "median", "min") for p in THREE if p != "fp32"}
    | {f"alpha_hill/{name}" for name in FIRST}
    | {"alpha_hill_more/layers"}
)


@pytest.fixture(autouse=True)
def _pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    noise_for_pictures(monkeypatch)


def snapshot(step: int, table: Table | None = None, alerts: tuple[Alert, ...] | None = None) -> Snapshot:
    return Snapshot(step, None, "checkpoint", table or computed(3), seconds=1.5, alerts=alerts)


def read(folder: Path) -> EventAccumulator:
    sizes = {"images": 0, "tensors": 0, "histograms": 0, "scalars": 0}
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def events(folder: Path) -> list[Path]:
    return sorted(folder.rglob("events.out.tfevents.*"))


def text_of(found: EventAccumulator) -> str:
    (event,) = found.Tensors("alpha_hill/tails/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


@contextmanager
def writer_in(folder: Path) -> Iterator[SummaryWriter]:
    writer = SummaryWriter(str(folder))
    try:
        yield writer
    finally:
        writer.close()


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., EventAccumulator]:
    """Log tables as steps 100, 200, ... and read them back."""

    def log(*tables: Table, alerts: tuple[Alert, ...] | None = None, **options: Any) -> EventAccumulator:
        with writer_in(tmp_path / "run") as writer:
            (sink,) = find_tensorboard(Host(tmp_path, (writer,), **options), asked=False)
            for i, table in enumerate(tables, start=1):
                sink.log(snapshot(100 * i, table, alerts))
            sink.close()
        assert len(events(tmp_path)) == 1
        return read(tmp_path / "run")

    return log


class TensorBoardCallback:
    """As Hugging Face's: the writer appears when training begins; it is closed and forgotten when training ends."""

    def __init__(self) -> None:
        self.tb_writer: SummaryWriter | None = None


class TensorBoardLogger:
    """As Lightning's."""

    def __init__(self, writer: Any) -> None:
        self.experiment = writer


class Dummy:
    """As Lightning's DummyLogger: any attribute is a function."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def test_tags_and_values(logged: Callable[..., EventAccumulator]) -> None:
    tables = [computed(3), computed(3)]
    found = logged(*tables)
    tags = found.Tags()
    layers = {
        f"alpha_hill.{b}/{name}.{p}": f"model.layers.{b}.{name}"
        for b in range(3)
        for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")
        for p in THREE
    } | {f"alpha_hill.outside/lm_head.{p}": "lm_head" for p in THREE}
    assert set(tags["scalars"]) == SUMMARY | set(layers)
    bars = [f"alpha_hill_bars/{name}" for name in ("attn_q", "attn_k", "mlp_up", "mlp_down", "lm_head")]
    assert set(tags["images"]) == {*bars, "alpha_hill_heat/alpha_ratio", "alpha_hill_heat/drift"}
    assert set(tags["histograms"]) == {f"alpha_hill_dist/{p}" for p in THREE}
    assert tags["tensors"] == ["alpha_hill/tails/text_summary"]
    by_name = {layer.first.layer_name: layer for layer in tables[0].layers}
    for tag, name in layers.items():
        events = found.Scalars(tag)
        assert [event.step for event in events] == [100, 200]
        assert events[0].value == pytest.approx(by_name[name][tag.rpartition(".")[2]].alpha, rel=1e-6)
    for name, value in snapshot(100).scalars.items():
        (tag,) = SUMMARY & {f"alpha_hill/{name}", f"alpha_hill_more/{name}"}
        assert found.Scalars(tag)[0].value == pytest.approx(value, rel=1e-6)
    histogram = found.Histograms("alpha_hill_dist/bf16")[0].histogram_value
    alphas = tables[0].alphas("bf16")
    assert (histogram.num, histogram.min, histogram.max) == (13, pytest.approx(min(alphas)), pytest.approx(max(alphas)))


def test_images_are_those_of_the_snapshot(logged: Callable[..., EventAccumulator]) -> None:
    found = logged(computed(3), computed(4))
    images = found.Images("alpha_hill_bars/attn_q")
    assert [event.step for event in images] == [100, 200]
    pixels = np.asarray(Image.open(io.BytesIO(images[0].encoded_image_string)))
    assert np.array_equal(pixels, snapshot(100).images["bars_attn_q"])


def test_switches(logged: Callable[..., EventAccumulator]) -> None:
    tags = logged(computed(2), images=False, per_layer_scalars=False).Tags()
    assert set(tags["scalars"]) == SUMMARY and not tags["images"]


def test_the_first_group_is_one_page_of_cards(logged: Callable[..., EventAccumulator]) -> None:
    names = ("int4_g32", "bf16", "fp32")  # the reference is fp32, wherever it stands
    rows = [replace(row, relative_error=0.1) for row in computed(2, names)]
    alerts = (Alert("alpha > 2", "fc", "fp32", 3.0, 2.0),)
    scalars = logged(Table.from_rows(rows, names), alerts=alerts).Tags()["scalars"]
    first = {tag.partition("/")[2] for tag in scalars if tag.startswith("alpha_hill/")}
    assert first == {
        "median_alpha_ratio", "relative_error_int4_g32", "mean_fp32", "median_fp32", "min_fp32", "analysed_layers",
        "max_abs_drift", "failed_layers", "alerts", "seconds"
    } and len(first) < 12  # fmt: skip
    more = {tag.partition("/")[2] for tag in scalars if tag.startswith("alpha_hill_more/")}
    assert more == {f"{s}_{p}" for s in ("mean", "median", "min") for p in ("bf16", "int4_g32")} | {"layers"}


def test_precisions_of_the_same_bits_share_one_card(logged: Callable[..., EventAccumulator]) -> None:
    stored = [replace(row, stored_dtype="bfloat16") for row in shared(bound=1e-6)]
    found = logged(Table.from_rows(stored, THREE))
    tags = [tag for kind in ("scalars", "histograms") for tag in found.Tags()[kind]]
    assert not [tag for tag in tags if "bf16" in tag] and "alpha_hill_more/mean_fp16" in tags
    assert text_of(found).endswith("bf16: the same bits as fp32, shown once.")


def test_text_begins_with_what_moved(logged: Callable[..., EventAccumulator]) -> None:
    first = snapshot(100)
    rows = [replace(row, alpha=row.alpha - 0.5) if "down" in row.layer_name else row for row in first.table]
    text = tails_text(replace(snapshot(200, Table.from_rows(rows, THREE)), earlier=first.later()))
    assert text.startswith("### Largest moves since step 100 (fp32)")
    assert text.count("-5.00e-01") == 3 and text.index("moves") < text.index("Heaviest")
    still = tails_text(replace(snapshot(200), earlier=first.later()))
    assert still.startswith("### Largest moves since step 100 (fp32)\n\nNo layer moved.")
    assert "moves" not in tails_text(first)


def test_text_has_the_errors_of_the_lowest_format() -> None:
    rows = [replace(row, relative_error=0.02) for row in computed(2, ("fp32", "int8", "int4_g32"))]
    rows[2] = replace(rows[2], relative_error=0.123)
    text = tails_text(snapshot(1, Table.from_rows(rows, ("fp32", "int8", "int4_g32"))))
    section = text[text.index("### Largest relative errors of the weights at int4_g32") :]
    assert section.index("0.123") < section.index("0.02") and "at int8" not in text
    assert "relative errors" not in tails_text(snapshot(1))


def test_charts_of_the_first_the_last_and_every_nth_state(tmp_path: Path) -> None:
    cases: list[tuple[Any, Any, list[int]]] = [
        ("checkpoint", str, [0, 3, 4]), ("end", str, [0, 3, 4]), ("checkpoint", lambda step: step > 0, [0, 3]),
        ("end", lambda step: True, [0]),
    ]  # fmt: skip
    for i, (end, table_of, steps) in enumerate(cases):
        with writer_in(tmp_path / str(i)) as writer:
            (sink,) = find_tensorboard(Host(tmp_path, (writer,), images=3), asked=False)
            for step in range(5):
                state = snapshot(step)
                table = replace(state.table, model=str(table_of(step)))  # the same charts are not logged again
                sink.log(replace(state, table=table, event=end if step == 4 else "checkpoint"))
            sink.close()
            sink.close()
        found = read(tmp_path / str(i))
        assert [event.step for event in found.Images("alpha_hill_bars/attn_q")] == steps


def test_charts_that_cannot_be_drawn_cost_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardSink, "_draw", lambda *_: 1 / 0)
    with writer_in(tmp_path / "run") as writer:
        sink = TensorBoardSink(Host(tmp_path), writer)
        with pytest.raises(ZeroDivisionError):
            sink.log(snapshot(100))
    tags = read(tmp_path / "run").Tags()["scalars"]
    assert "alpha_hill/mean_fp32" in tags and any(tag.startswith("alpha_hill.0/") for tag in tags)


def test_layers_without_alpha_have_no_points(logged: Callable[..., EventAccumulator]) -> None:
    bad = "model.layers.1.mlp.up_proj"
    rows = [lost(row) if row.layer_name == bad and row.precision == "fp16" else row for row in computed(2)]
    found = logged(Table.from_rows(rows, THREE))
    scalars = found.Tags()["scalars"]
    assert "alpha_hill.1/mlp.up_proj.bf16" in scalars and "alpha_hill.1/mlp.up_proj.fp16" not in scalars
    assert found.Scalars("alpha_hill/failed_layers")[0].value == 1
    assert all(np.isfinite(event.value) for tag in scalars for event in found.Scalars(tag))
    assert f"- {bad} (fp16): non_finite: 3 weights overflow" in text_of(found)


def test_nothing_but_lost_layers(logged: Callable[..., EventAccumulator]) -> None:
    found = logged(all_lost())
    kept = ["alpha_hill/analysed_layers", "alpha_hill_more/layers", "alpha_hill/failed_layers", "alpha_hill/seconds"]
    assert found.Tags()["scalars"] == kept
    assert not found.Tags()["histograms"]
    assert "- and 17 more" in text_of(found)


def test_text_has_both_tables(logged: Callable[..., EventAccumulator]) -> None:
    text = text_of(logged(computed(3)))
    assert "| model.layers.0.self_attn.q_proj | 3.00000 | 7.500 | 0.400 |" in text
    assert "### Largest measured drifts from fp32" in text and "| bf16 | 3.00200 | +2.00e-03 |" in text
    assert "Without alpha" not in text
    assert "drifts" not in tails_text(snapshot(1, shared()))


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")  # TensorBoard's own
def test_hostile_layer_names_break_neither_tables_nor_tags(logged: Callable[..., EventAccumulator]) -> None:
    from tensorboard.plugin_util import markdown_to_safe_html

    rows = [make_row(HOSTILE, p, 3.0 + 0.1 * i) for i, p in enumerate(THREE)]
    rows += [lost(make_row(f"layers.0.{HOSTILE}", p), reason="| `x` <b>") for p in THREE]
    found = logged(Table.from_rows(rows, THREE))
    layers = {tag for tag in found.Tags()["scalars"] if "outside" in tag}
    assert layers == {f"alpha_hill.outside/a_b_c__script_.{p}" for p in THREE}
    page = markdown_to_safe_html(text_of(found))
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", page)]
    assert cells[::4] == ["a|b`c <script>"] * 3 and len(cells) == 4 + 2 * 4
    assert "<script" not in page and "<b>" not in page and "non_finite: | `x` <b>" in html.unescape(page)


def test_an_alert_names_its_layers_whole() -> None:
    layers = ", ".join(f"model.layers.{i}.self_attn.q_proj (1.{i}23)" for i in range(3)) + " and 18 more"
    assert alerts_text([AlertLine("change > 0.3", layers, False)]) == (f"- **change &#62; 0.3**: {escape(layers, 600)}")
    assert "…" not in escape(layers, 600) and "…" in escape(layers)


def test_escape() -> None:
    assert escape("model.layers.0.q_proj") == "model.layers.0.q_proj"
    assert escape("__a__ *b* [c](d) #e") == "&#95;&#95;a&#95;&#95; &#42;b&#42; &#91;c&#93;&#40;d&#41; &#35;e"
    assert len(escape("x" * 1000)) == 121


def test_blocks_of_encoder_and_decoder_keep_apart(logged: Callable[..., EventAccumulator]) -> None:
    both = ("encoder.block.11.layer.0.SelfAttention.q", "decoder.block.11.layer.0.SelfAttention.q")
    rows = [make_row(name, "fp32", 3.0 + i) for i, name in enumerate(both)]
    tags = logged(Table.from_rows([*rows, make_row("encoder.block.2.layer.1.wo")], ("fp32",))).Tags()["scalars"]
    assert {tag for tag in tags if tag.startswith("alpha_hill.")} == {
        *(f"alpha_hill.11/{name}.fp32" for name in both),
        "alpha_hill.02/wo.fp32",
    }


def test_thousands_of_experts_have_no_scalars(tmp_path: Path) -> None:
    row = make_row("layers.0.mlp.experts.0.up_proj")
    rows = [replace(row, layer_name=f"layers.0.mlp.experts.{i}.up_proj") for i in range(1001)]
    table = Table.from_rows([*rows, make_row("layers.0.self_attn.q_proj")], ("fp32",))
    assert dict(tensorboard_sink._layer_tags(table)) == {"alpha_hill.0/self_attn.q_proj.fp32": 4.0}


def test_a_shared_writer_stays_open(tmp_path: Path) -> None:
    with writer_in(tmp_path / "run") as writer:
        writer.add_scalar("train/loss", 1.0, 1)
        (sink,) = find_tensorboard(Host(tmp_path / "out", (writer,)), asked=True)
        assert isinstance(sink, Sink) and sink.adopted is writer  # type: ignore[attr-defined]
        sink.log(snapshot(10))
        assert "alpha_hill/seconds" in read(tmp_path / "run").Tags()["scalars"]  # flushed
        sink.close()
        sink.close()
        writer.add_scalar("train/loss", 0.5, 20)
    assert [path.parent for path in events(tmp_path)] == [tmp_path / "run"]
    assert [event.step for event in read(tmp_path / "run").Scalars("train/loss")] == [1, 20]


def test_a_writer_is_adopted_once_however_it_is_offered(tmp_path: Path) -> None:
    callback = TensorBoardCallback()
    with writer_in(tmp_path / "run") as writer, writer_in(tmp_path / "other") as other:
        callback.tb_writer = writer
        logger = TensorBoardLogger(writer)
        offers = (Dummy(), object(), logger, writer, logger, callback, other, TensorBoardLogger(Dummy()))
        sinks = find_tensorboard(Host(tmp_path, offers), asked=False)
        assert [sink.adopted for sink in sinks] == [logger, other]  # type: ignore[attr-defined]
        (opened,) = open_sinks([logger], Host(tmp_path))
        assert isinstance(opened, TensorBoardSink) and opened.adopted is logger


def test_nothing_offered_and_not_asked(tmp_path: Path) -> None:
    assert find_tensorboard(Host(tmp_path, (Dummy(), "x", None)), asked=False) == []
    assert not list(tmp_path.iterdir())


def test_a_writer_of_our_own(tmp_path: Path) -> None:
    (sink,) = find_tensorboard(Host(tmp_path, images=False), asked=True)
    assert not list(tmp_path.iterdir())
    assert sink.adopted is None  # type: ignore[attr-defined]
    sink.close()
    sink.log(snapshot(1))
    sink.log(snapshot(2))
    sink.close()
    sink.close()
    assert [path.parent for path in events(tmp_path)] == [tmp_path / "tensorboard"]
    assert [event.step for event in read(tmp_path / "tensorboard").Scalars("alpha_hill/seconds")] == [1, 2]


@pytest.mark.parametrize(("again", "expected"), [(2, [1, 2, 3]), (0, [0, 1])])
def test_a_run_that_resumes_or_begins_anew_hides_what_it_does_again(
    again: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for names, steps in (("a", (1, 2, 3)), ("b", (again, again + 1))):
        monkeypatch.setattr(
            "time.time", lambda names=names: 1_700_000_000.0 + ord(names)
        )  # file names are by the second
        (sink,) = find_tensorboard(Host(tmp_path, images=False), asked=True)
        for step in steps:
            sink.log(snapshot(step))
        sink.close()
    assert len(events(tmp_path)) == 2
    assert [event.step for event in read(tmp_path / "tensorboard").Scalars("alpha_hill/seconds")] == expected


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'sinks: "tensorboard" needs .*"\.\[tensorboard\]'):
        find_tensorboard(Host(tmp_path), asked=True)


def test_a_callback_whose_writer_comes_later_and_goes(tmp_path: Path) -> None:
    callback = TensorBoardCallback()
    (sink,) = find_tensorboard(Host(tmp_path, (callback,), images=False), asked=False)
    sink.log(snapshot(0))
    sink.close()
    assert not events(tmp_path)
    with writer_in(tmp_path / "first") as writer:
        callback.tb_writer = writer
        sink.log(snapshot(10))
    with writer_in(tmp_path / "second") as writer:
        callback.tb_writer = writer
        sink.log(snapshot(20))
    callback.tb_writer = None  # closed and forgotten, as at the end of training
    sink.log(snapshot(30))
    assert writer.file_writer is None  # closed again
    sink.close()
    assert [event.step for event in read(tmp_path / "first").Scalars("alpha_hill/seconds")] == [0, 10]
    assert [event.step for event in read(tmp_path / "second").Scalars("alpha_hill/seconds")] == [20, 30]


def test_an_error_is_not_followed_by_a_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writer_in(tmp_path) as writer:
        (sink,) = find_tensorboard(Host(tmp_path, (writer,), images=False), asked=False)
        with monkeypatch.context() as patch:
            patch.setattr(writer, "add_text", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                sink.log(snapshot(1))
        sink.log(snapshot(2))
    assert [event.step for event in read(tmp_path).Scalars("alpha_hill/seconds")] == [1, 2]


class Full:
    """Makes a writer's thread fail as on a full disk: it ends, and whoever writes or flushes later gets its error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.now = False
        real, self.dead = SummaryWriter.flush, set[int]()

        def flush(writer: Any) -> None:
            if self.now or id(writer) in self.dead:
                self.dead.add(id(writer))
                raise OSError(28, "No space left on device")
            real(writer)

        monkeypatch.setattr(SummaryWriter, "flush", flush)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the thread that failed keeps its file
def test_a_writer_of_our_own_that_died_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = Full(monkeypatch)
    (sink,) = find_tensorboard(Host(tmp_path, images=False), asked=True)
    sink.log(snapshot(0))
    full.now = True
    for step in (10, 20):
        with pytest.raises(OSError, match="No space"):
            sink.log(snapshot(step))
    full.now = False
    sink.log(snapshot(30))
    sink.close()
    assert not caplog.text
    assert [event.step for event in read(tmp_path / "tensorboard").Scalars("alpha_hill/seconds")] == [0, 10, 20, 30]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as above
def test_charts_that_a_dead_writer_took_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, drawn = Full(monkeypatch), list[int]()
    monkeypatch.setattr(TensorBoardSink, "_draw", lambda _, state: drawn.append(state.step))
    (sink,) = find_tensorboard(Host(tmp_path, images=5), asked=True)
    full.now = True
    with pytest.raises(OSError, match="No space"):
        sink.log(snapshot(0))
    full.now = False
    sink.log(snapshot(10))  # nothing has changed
    sink.close()
    assert drawn == [0, 10]


def test_a_dead_writer_is_said_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with writer_in(tmp_path) as writer:
        full = Full(monkeypatch)
        (sink,) = find_tensorboard(Host(tmp_path, (writer,), images=False), asked=False)
        sink.log(snapshot(0))
        full.now = True
        for step in (10, 20):
            with pytest.raises(OSError, match="No space"):
                sink.log(snapshot(step))
        sink.close()
        assert "TensorBoard lacks states, its writer stopped with an error: step 10, 20." in caplog.text
        full.now = False
        full.dead.clear()
        sink.close()
    assert len(caplog.records) == 1


def test_real_lightning_logger(tmp_path: Path) -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason='needs "alpha-callbacks[lightning]"')
    logger = loggers.TensorBoardLogger(str(tmp_path), name="lit")
    dummy = pytest.importorskip("lightning.pytorch.loggers.logger").DummyLogger()
    csv = loggers.CSVLogger(str(tmp_path), name="csv")
    (sink,) = find_tensorboard(Host(tmp_path, (dummy, csv, logger), images=False), asked=False)
    sink.log(snapshot(5))
    logger.log_metrics({"loss": 1.0}, step=6)
    sink.close()
    logger.finalize("success")
    assert len(events(tmp_path)) == 1
    assert {"loss", "alpha_hill/seconds"} <= set(read(Path(logger.log_dir)).Tags()["scalars"])


def test_import_needs_no_framework() -> None:
    code = "import sys, alpha_integrations.loggers.tensorboard_sink\nprint(*sys.modules)"
    frameworks = ("tensorboard", "torch.utils.tensorboard", "lightning", "transformers", "matplotlib")
    assert not set(frameworks) & set(run_code(code, anew=frameworks).stdout.split())


@contextmanager
def server(folder: Path) -> Iterator[Callable[..., Any]]:
    """Run TensorBoard over a folder; gives a function that fetches a route."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch(route: str, raw: bool = False, **query: Any) -> Any:
        url = f"http://127.0.0.1:{port}/data/{route}?{urllib.parse.urlencode(query)}"
        with opener.open(url, timeout=10) as answer:
            data = answer.read()
        return data if raw else json.loads(data)

    with (folder.parent / "server.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield fetch
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def test_the_real_server_shows_what_the_table_holds(tmp_path: Path) -> None:
    table = computed(3)
    with writer_in(tmp_path / "logs" / "run") as writer:
        (sink,) = find_tensorboard(Host(tmp_path, (writer,)), asked=False)
        sink.log(snapshot(100, table))
        sink.log(snapshot(200, replace(table, model="later")))
        sink.close()
    with server(tmp_path / "logs") as fetch:
        last = {"run": "run", "tag": "alpha_hill.outside/lm_head.bf16"}  # written last
        deadline = time.monotonic() + 30
        points: Any = []
        while len(points) < 2:
            assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
            try:
                points = fetch("plugin/scalars/scalars", **last)
            except (urllib.error.URLError, ConnectionError):
                continue  # not up yet, or the tag is not yet there
        assert fetch("runs") == ["run"]
        series = fetch("plugin/timeseries/tags")
        assert set(series["images"]["tagRunSampledInfo"]) >= {"alpha_hill_bars/attn_q", "alpha_hill_heat/drift"}
        assert set(series["histograms"]["runTagInfo"]["run"]) == {f"alpha_hill_dist/{p}" for p in THREE}
        for name in THREE:
            tag = f"alpha_hill.2/self_attn.k_proj.{name}"
            points = fetch("plugin/scalars/scalars", run="run", tag=tag)
            alpha = table.layers[9][name].alpha
            assert [(step, value) for _, step, value in points] == [
                (100, pytest.approx(alpha, rel=1e-6)),
                (200, pytest.approx(alpha, rel=1e-6)),
            ]
        shown = fetch("plugin/images/images", run="run", tag="alpha_hill_bars/attn_q", sample=0)
        assert [image["step"] for image in shown] == [100, 200]
        png = fetch("plugin/images/individualImage", raw=True, **dict(urllib.parse.parse_qsl(shown[0]["query"])))
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        assert np.array_equal(pixels, snapshot(100, table).images["bars_attn_q"])
        (first, _) = fetch("plugin/text/text", run="run", tag="alpha_hill/tails/text_summary")
        assert "<td>model.layers.0.self_attn.q_proj</td>" in first["text"].replace("\n", "")
