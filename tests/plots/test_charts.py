import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alpha_callbacks.errors import OptionError, SpectrumError
from alpha_callbacks.plots import (
    LayerCharts,
    draw_all,
    plot_batch,
    plot_category,
    plot_distribution,
    plot_experts,
    plot_heatmap,
    plot_layer,
    precision_colors,
    safe_file_name,
    save,
)
from alpha_callbacks.plots.draw_scan import FEW, with_own_chart
from alpha_callbacks.plots.elements.drift import drift_of, scale_drift_axis
from alpha_callbacks.plots.elements.figure_text import fit, fit_title, plain, tail_text, text_width
from alpha_callbacks.precisions import registry
from alpha_callbacks.tables.number_text import bound_text
from alpha_callbacks.tables.standing_out import standing_out
from alpha_callbacks.tables.table import LayerRows, Row, Table
from tests.support.chart_tables import THREE, all_lost, computed, lost, make_row, names, shared, words
from tests.support.warm import run_code


@pytest.fixture
def many_precisions() -> Iterator[tuple[str, ...]]:
    extra = tuple(f"test{i}_g32" for i in range(4))
    for name in extra:
        registry.register(registry.Precision(name, (), 4, None, lambda rows: rows))
    yield ("fp64", "fp32", "fp16", "bf16", *extra)
    for name in extra:
        del registry._REGISTRY[name]


def test_bars_are_as_high_as_alpha_and_start_at_zero() -> None:
    table = computed()
    for layer in table.layers[:2]:
        _, (alpha, drift) = plot_layer(layer, table)
        assert [bar.get_height() for bar in alpha.patches] == [layer[p].alpha for p in THREE]
        assert alpha.get_ylim()[0] == 0
        assert [bar.get_height() for bar in drift.patches] == pytest.approx([0.001, 0.002])


def test_layer_prints_values_shape_and_tail_rule() -> None:
    table = computed()
    figure, (alpha, drift) = plot_layer(table.layers[0], table)
    assert {"3.00000", "3.00100", "3.00200", "noise (MP)\n7.500"} <= set(words(alpha))
    assert {"+1.00e-03", "+2.00e-03"} <= set(words(drift))
    shown = words(figure)
    assert "model.layers.0.self_attn.q_proj" in shown
    (subtitle,) = [text for text in shown if "attn_q" in text]
    assert "256 × 512" in subtitle and "bf16" in subtitle and "k = 25 of n = 256" in subtitle


def test_bounded_drift_is_a_hatched_interval_and_never_a_zero() -> None:
    table = shared()
    _, (_, drift) = plot_layer(table.layers[0], table)
    fp16, bf16 = drift.patches
    assert fp16.get_hatch() and fp16.get_y() == -1.2e-9 and fp16.get_height() == 2.4e-9
    assert not bf16.get_hatch() and bf16.get_height() == 0
    assert "≤ 1.2e-09" in words(drift)
    assert words(drift).count("0 (lossless)") == 1


def test_lossless_precision_is_bounded_where_the_reference_is() -> None:
    table = Table.from_rows(
        [
            make_row("fc", "fp16", method="bounded", alpha_error_bound=2e-9),
            make_row("fc", "bf16", method="lossless", alpha_error_bound=0.0),
        ],
        ("fp16", "bf16"),
    )
    assert drift_of(table.layers[0], "bf16", "fp16").text == "≤ 2.0e-09"
    assert "≤ 2.0e-09" in words(plot_layer(table.layers[0], table)[1][1])


def test_failed_precision_shows_its_status_in_place_of_a_bar() -> None:
    table = Table.from_rows([make_row("fc", "fp32"), lost(make_row("fc", "fp16")), make_row("fc", "bf16", 4.5)], THREE)
    figure, (alpha, drift) = plot_layer(table.layers[0], table)
    assert alpha.patches[1].get_height() == 0
    assert "non_finite" in words(alpha) and "non_finite" in words(drift)
    assert "non_finite: 3 weights overflow" in words(figure)


def test_failed_reference_leaves_no_drift() -> None:
    table = Table.from_rows([lost(make_row("fc", "fp32"), "failed"), make_row("fc", "bf16")], ("fp32", "bf16"))
    assert "no fp32 alpha" in words(plot_layer(table.layers[0], table)[1][1])


def test_layer_charts_reuse_one_figure_without_leaving_traces() -> None:
    table = computed(13)
    charts = LayerCharts(table)
    figure, axes = charts.draw(table.layers[0])
    artists = len(figure.findobj())
    first = words(axes[0])
    for layer in table.layers[1:51]:
        assert charts.draw(layer) == (figure, axes)
    assert len(figure.axes) == 2
    charts.draw(table.layers[0])
    assert words(axes[0]) == first
    assert len(figure.findobj()) <= artists + 8  # ticks come and go with the limits


def test_layer_charts_forget_the_layer_before(tmp_path: Path) -> None:
    mixed = Table.from_rows(
        [
            *(make_row("a", p, 3.0 + i) for i, p in enumerate(THREE)),
            *(lost(make_row("b", p), "failed", "no memory") for p in THREE),
            *(make_row("c", p, method="bounded", alpha_error_bound=1e-9, alpha_null=math.nan) for p in THREE),
        ],
        THREE,
    )
    charts = LayerCharts(mixed)
    for layer in mixed.layers * 2:
        reused = save(charts.draw(layer)[0], tmp_path / "reused")[0].read_bytes()
        assert reused == save(plot_layer(layer, mixed)[0], tmp_path / "fresh")[0].read_bytes()


def test_names_are_text_and_never_mathtext(tmp_path: Path) -> None:
    name = r"model.$\frac{1}{0}$.x^2.$y$" + "\u202e\n\x00漢"
    table = Table.from_rows([make_row(name, p) for p in THREE], THREE)
    for figure, _ in (plot_layer(table.layers[0], table), plot_batch(table.layers, table, 1, 1)):
        save(figure, tmp_path / "x", ("png", "svg"))
    assert plain("$x$") == r"\$x\$"
    assert "\n" not in plain(name) and "\u202e" not in plain(name)


@pytest.mark.parametrize("length", [1, 60, 120, 200, 5000])
def test_titles_fit_the_width(length: int) -> None:
    title, size = fit_title("W" * length, 7.7)
    assert len(title.splitlines()) <= 2
    assert all(text_width(line, size, "bold") <= 7.7 for line in title.splitlines())
    assert text_width(fit("name." * length, 3.0, 9.0), 9.0) <= 3.0


def test_category_bars_and_reference_values() -> None:
    table = computed(32)
    figure, (alpha, drift) = plot_category(table, "attn_q")
    layers = [layer for layer in table.layers if layer.first.category == "attn_q"]
    (bars,) = alpha.containers  # those of other precisions would look the same
    assert [bar.get_height() for bar in bars] == [layer["fp32"].alpha for layer in layers]
    assert alpha.get_ylim()[0] == 0
    assert [tick.get_text() for tick in drift.get_xticklabels()] == ["0", "5", "10", "15", "20", "25", "30"]
    few = computed(8)
    values = [f"{layer['fp32'].alpha:#.6g}" for layer in few.layers if layer.first.category == "attn_q"]
    assert set(values) <= set(words(plot_category(few, "attn_q")[1][0]))
    lines = [line for line in drift.lines if line.get_label() == "measured"]
    assert [list(line.get_ydata()) for line in lines] == [pytest.approx([0.001] * 32), pytest.approx([0.002] * 32)]
    assert figure.get_size_inches()[0] <= 18


def test_category_of_eighty_blocks_prints_no_values() -> None:
    figure, (alpha, _) = plot_category(computed(80), "attn_q")
    assert not [text for text in alpha.texts if "." in text.get_text()]
    assert figure.get_size_inches()[0] <= 18


def test_category_tells_bounds_from_zeros() -> None:
    _, (_, drift) = plot_category(shared(), "attn_q")
    by_kind = {line.get_label(): line for line in drift.lines}
    assert list(by_kind["bounded"].get_ydata()) == [1.2e-9, 1.2e-9]
    assert by_kind["bounded"].get_marker() == "$≤$"
    assert list(by_kind["lossless"].get_ydata()) == [0, 0]
    legend = drift.get_legend()
    assert legend is not None
    assert any("provably" in text.get_text() for text in legend.get_texts())


def test_category_names_layers_outside_blocks_and_lost_alphas() -> None:
    _, (_, drift) = plot_category(computed(), "lm_head")
    assert [tick.get_text() for tick in drift.get_xticklabels()] == ["lm_head"]
    rows = [
        lost(make_row(f"layers.{b}.self_attn.q_proj", p)) if b else make_row(f"layers.{b}.self_attn.q_proj", p)
        for b in range(3)
        for p in THREE
    ]
    figure, (alpha, _) = plot_category(Table.from_rows(rows, THREE), "attn_q")
    assert words(alpha).count("non_finite") == 2
    assert any("no alpha: 6 non_finite" in text for text in words(figure))


def mixture(kinds: Sequence[str] = ("up",)) -> Table:
    """Return 4 blocks of 9 experts, whose alphas grow by 1 with the block and by 0.1 with the expert."""
    rows = [
        make_row(f"model.layers.{b}.mlp.experts.{e}.{kind}_proj", p, 4.0 + b + 0.1 * e)
        for b in range(4)
        for e in range(9)
        for kind in kinds
        for p in THREE
    ]
    return Table.from_rows(rows, THREE)


def test_category_of_experts_shows_medians_and_quartiles() -> None:
    figure, (alpha, drift) = plot_category(mixture(), "moe_expert_up")
    ends = [[tuple(segment[:, 1]) for segment in lines.get_segments()] for lines in alpha.collections]
    assert any(one == [pytest.approx((4.2 + b, 4.6 + b)) for b in range(4)] for one in ends), "quartiles"
    assert any(one == [pytest.approx((4.0 + b, 4.8 + b)) for b in range(4)] for one in ends), "smallest and largest"
    medians = [line for line in alpha.lines if line.get_label() == "fp32"]
    assert list(medians[0].get_ydata()) == pytest.approx([4.4, 5.4, 6.4, 7.4])
    assert not alpha.containers
    assert [tick.get_text() for tick in drift.get_xticklabels()] == ["0", "1", "2", "3"]
    assert any("median of each block" in text for text in words(figure))


def test_batch_has_a_named_bar_for_each_alpha() -> None:
    table = computed(5)
    _, (alpha, drift) = plot_batch(table.layers[:20], table, 2, 7)
    for container, precision in zip(alpha.containers, THREE, strict=True):
        assert [bar.get_width() for bar in container] == [layer[precision].alpha for layer in table.layers[:20]]
    assert alpha.get_xlim()[0] == 0
    assert [tick.get_text() for tick in alpha.get_yticklabels()] == names(5)[:20]
    assert "3.00100" in words(alpha) and words(drift).count("+1.00e-03") == 20
    dots = {line.get_label(): line for line in drift.lines if line.get_marker() == "o"}
    assert list(dots["fp16"].get_xdata()) == pytest.approx([0.001] * 20) and not drift.patches, "no bars on a log scale"
    figure, (_, drift) = plot_batch(shared().layers, shared(), 1, 1)
    assert words(drift).count("≤ 1.2e-09") == len(shared())
    assert "alpha, batch 1 of 1" in words(figure)


def test_distribution_counts_what_it_shows() -> None:
    rows = [
        make_row(f"fc{i}", p, 3.0 + i) if i or p != "fp16" else lost(make_row("fc0", p))
        for i in range(5)
        for p in THREE
    ]
    _, (axes,) = plot_distribution(Table.from_rows(rows, THREE))
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels[0].startswith("fp32 ≈ bf16\nn = 5\n") and labels[1].startswith("fp16\nn = 4, 1 not ok\n")
    assert "mean 5.00000" in labels[0] and "median 5.50000" in labels[1]
    assert [len(points.get_offsets()) for points in axes.collections] == [5, 4]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_label() == "median"] == [5.0, 5.5]
    wide = [make_row("b", p, 6.0, out_features=512, alpha_null=12.0) for p in THREE]
    _, (axes,) = plot_distribution(Table.from_rows([*rows[:3], *wide], THREE))
    assert axes.get_ylabel() == "alpha / noise", "alphas of several shapes cannot be compared"
    assert sorted(axes.collections[0].get_offsets()[:, 1].tolist()) == pytest.approx([3.0 / 7.5, 0.5])


def test_heatmap_prints_cells_and_hatches_gaps() -> None:
    table = computed()
    rows = [lost(row) if row.layer_name == "model.layers.1.mlp.up_proj" else row for row in table]
    rows = [row for row in rows if row.layer_name != "model.layers.2.mlp.down_proj"]
    figure, (cells, _) = plot_heatmap(Table.from_rows(rows, THREE), "alpha", "bf16")
    assert {"3.002", "×"} <= set(words(cells))
    assert sum(bool(patch.get_hatch()) for patch in cells.patches) == 2
    assert [tick.get_text() for tick in cells.get_xticklabels()] == ["attn_q", "attn_k", "mlp_up", "mlp_down"]
    assert any("outside blocks: lm_head" in text for text in words(figure))


def test_heatmap_stripes_tails_that_are_not_clear_and_colours_errors_by_their_distance_from_the_median() -> None:
    tails = {"model.layers.0.self_attn.q_proj": "none", "model.layers.1.mlp.up_proj": "doubtful"}
    rows = [replace(row, tail=tails.get(row.layer_name, "clear"), relative_error=0.1) for row in computed()]
    rows[0] = replace(rows[0], relative_error=0.13)
    table = Table.from_rows(rows, THREE)
    figure, (cells, _) = plot_heatmap(table, "alpha_ratio")
    striped = [one for one in cells.collections if one.get_hatch()]
    corners = {tuple(path.vertices[0]) for one in striped for path in one.get_paths()}
    assert corners == {(0.0, 0.0), (2.0, 1.0)} and any("striped: no clear tail" in text for text in words(figure))
    assert not [one for one in plot_heatmap(table, "drift")[1][0].collections if one.get_hatch()]
    figure, (cells, bar) = plot_heatmap(table, "relative_error", "fp32")
    assert not any("threshold" in text for text in words(figure)), "no tail is fitted for an error"
    assert not [one for one in cells.collections if one.get_hatch()] and bar.get_ylim() == pytest.approx((0.07, 0.13))
    red, *same = cells.collections[0].get_facecolor()
    assert red[0] > 0.6 > 2 * red[2] and all(face[0] == pytest.approx(face[2], abs=0.02) for face in same)


def test_heatmap_of_ratio_and_drift() -> None:
    _, (cells, _) = plot_heatmap(computed(), "alpha_ratio")
    assert f"{3.0 / 7.5:.3f}" in words(cells)
    assert "+2.0e-03" in words(plot_heatmap(computed(), "drift")[1][0])
    bounded = words(plot_heatmap(shared(), "drift", "fp16")[1][0])
    assert bounded.count("≤ 1.2e-09") == 8 and "0" not in [text for text in bounded if text not in "01"]


Plot = Callable[[Table], tuple[Figure, Sequence[Axes]]]
PLOTS: dict[str, Plot] = {
    "layer": lambda table: plot_layer(table.layers[0], table),
    "category": lambda table: plot_category(table, "attn_q"),
    "batch": lambda table: plot_batch(table.layers, table, 1, 1),
    "distribution": plot_distribution,
    "heatmap": plot_heatmap,
}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_table_without_any_alpha_still_draws(plot: Plot, tmp_path: Path) -> None:
    figure, _ = plot(all_lost())
    assert "no usable alpha" in words(figure)
    save(figure, tmp_path / "x")


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
@pytest.mark.parametrize("count", [1, 8])  # other tests draw two and three
def test_one_to_eight_precisions(plot: Plot, count: int, many_precisions: tuple[str, ...], tmp_path: Path) -> None:
    (file,) = save(plot(computed(1, many_precisions[:count]))[0], tmp_path / "x")
    assert file.stat().st_size > 1000


@pytest.mark.parametrize("plot", [PLOTS[name] for name in ("layer", "heatmap")], ids=["layer", "heatmap"])
def test_vector_files_have_the_same_bytes_twice(plot: Plot, tmp_path: Path) -> None:
    first = save(plot(shared())[0], tmp_path / "first", ("svg", "pdf", "png"))
    second = save(plot(shared())[0], tmp_path / "second", ("svg", "pdf", "png"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"<dc:date>" not in first[0].read_bytes() and b"CreationDate" not in first[1].read_bytes()
    fonts = _fonts(first[1].read_bytes())
    assert fonts and all("glyf" in font and not {"GSUB", "GPOS", "GDEF", "kern"} & set(font.keys()) for font in fonts)
    assert (
        subset.Options().drop_tables == subset.Options._drop_tables_default
        and "GPOS" not in subset.Options().drop_tables
    )


def _fonts(pdf: bytes) -> list[TTFont]:
    """Return the TrueType fonts in a PDF: its text is text, in a font that has the glyphs of the figure alone."""
    streams = [part.partition(b"endstream")[0].lstrip(b"\r\n") for part in pdf.split(b"stream")[1::2]]
    plain = [zlib.decompressobj().decompress(stream) for stream in streams if stream[:1] == b"x"]
    return [TTFont(io.BytesIO(content)) for content in plain if content[:4] == b"\0\1\0\0"]


def test_colors_are_fixed_and_differ(many_precisions: tuple[str, ...]) -> None:
    colors = precision_colors(many_precisions)
    assert len(set(colors.values())) == 8
    assert precision_colors(("bf16",))["bf16"] == colors["bf16"]


def test_the_users_style_neither_matters_nor_changes(tmp_path: Path) -> None:
    table = computed(1)
    expected = save(plot_layer(table.layers[0], table)[0], tmp_path / "a")[0].read_bytes()
    odd = {"font.size": 20.0, "axes.grid": True, "text.usetex": True, "axes.facecolor": "red"}
    with matplotlib.rc_context(odd):  # type: ignore[arg-type]
        assert save(plot_layer(table.layers[0], table)[0], tmp_path / "b")[0].read_bytes() == expected
        assert {name: matplotlib.rcParams[name] for name in odd} == odd  # type: ignore[index]


def test_save_replaces_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = computed(1)
    figure, _ = plot_layer(table.layers[0], table)
    (path,) = save(figure, tmp_path / "layer_001_model.layers.0")
    assert path.name == "layer_001_model.layers.0.png"
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            save(figure, tmp_path / "layer_001_model.layers.0")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_unknown_format_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="formats: expected some of png, pdf, svg, got 'gif'"):
        draw_all(computed(1), tmp_path, formats=("png", "gif"))
    assert not list(tmp_path.iterdir())


def test_draw_all_writes_every_chart(tmp_path: Path) -> None:
    table = computed(1)
    seen: list[tuple[int, int]] = []
    paths = draw_all(table, tmp_path, max_layers_per_plot=3, on_progress=lambda *step: seen.append(step))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    layers = [f"individual_layers/layer_{i:03d}_{name}.png" for i, name in enumerate(names(1), start=1)]
    categories = [f"category_{name}.png" for name in ("attn_q", "attn_k", "mlp_up", "mlp_down", "lm_head")]
    heat = [f"heatmap_alpha_{name}.png" for name in (*THREE, "ratio_fp32")]
    rest = ["combined_batch_1.png", "combined_batch_2.png", "alpha_distribution_by_precision.png"]
    assert found == sorted(layers + categories + heat + rest)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in paths) == found
    assert seen == [(i, len(found)) for i in range(1, len(found) + 1)]
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.width >= 600


@pytest.mark.parametrize(
    "name", ["../../x", "<script>", "a" * 300, "", ".hidden", "a/b\\c:d", "漢字", "...", "x" * 99 + "._"]
)
def test_safe_file_name_is_total(name: str) -> None:
    safe = safe_file_name(name)
    assert 0 < len(safe) <= 100
    assert not set(safe) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not safe.startswith(".") and ".." not in safe


def test_safe_file_name_keeps_good_names() -> None:
    assert safe_file_name("model.layers.0.mlp.up_proj") == "model.layers.0.mlp.up_proj"
    assert safe_file_name("../../x") == "x" and safe_file_name("") == "unnamed"


def test_drift_axis_is_linear_until_values_are_decades_apart() -> None:
    assert scale_drift_axis(Figure().add_subplot(), "y", [1e-4, -2e-4, 0.0, math.nan], max_ticks=6) == "linear"
    axes = Figure().add_subplot()
    assert scale_drift_axis(axes, "x", [1e-9] * 9 + [-1e-3], max_ticks=6) == "symlog"
    assert axes.get_xscale() == "symlog"
    assert scale_drift_axis(Figure().add_subplot(), "y", [0.0, math.nan], max_ticks=6) == "linear"


def test_bounds_are_rounded_up() -> None:
    assert (
        bound_text(1.2e-9) == "≤ 1.2e-09"
        and bound_text(1.2001e-9) == "≤ 1.3e-09"
        and bound_text(9.96e-9) == "≤ 1.0e-08"
    )


def test_tail_rule_is_stated_only_if_it_holds_for_all() -> None:
    one, other = make_row("a"), make_row("b", k_used=102, n_eigs=1024)
    assert tail_text([one, one]) == "k = 25 of n = 256, threshold = λ(k+1)"
    assert tail_text([one, other]) == "k = ⌊0.1 n⌋, threshold = λ(k+1)"
    assert tail_text([one, replace(other, k_used=512)]) == ""
    assert tail_text([one, replace(one, threshold="last")]) == ""
    assert tail_text([lost(one)]) == ""


def test_no_pyplot_and_no_plots_on_import(tmp_path: Path) -> None:
    script = f"""
        import sys, warnings
        warnings.simplefilter("error")
        import alpha_callbacks, alpha_callbacks.tables.table
        assert "matplotlib" not in sys.modules and "alpha_callbacks.plots" not in sys.modules
        import matplotlib
        shown = lambda: str(dict(dict.items(matplotlib.rcParams)))  # asking rcParams itself chooses a backend
        before = shown()
        from pathlib import Path
        from alpha_callbacks.plots import draw_all
        from alpha_callbacks.tables.table import Row, Table
        both = ("fp32", "bf16")
        rows = [Row("fc", "other", None, 9, 9, "fp32", "", p, "ok", alpha=3.0, alpha_null=6.0) for p in both]
        paths = draw_all(Table.from_rows(rows, both), Path({str(tmp_path)!r}), formats=("svg",))
        assert len(paths) == 7, paths
        from alpha_callbacks.plots.cards.draw_cards import draw_cards
        from tests.support.chart_tables import computed
        assert len(draw_cards(computed(2))) == 7
        from alpha_callbacks.comparison.comparison import compare
        from alpha_callbacks.plots.draw_comparison import draw_comparison
        from tests.support.rows import table
        draw_comparison(compare(table(), table(shift=1)), Path({str(tmp_path)!r}), formats=("png", "pdf"))
        import torch
        from alpha_callbacks import plot_esd, plot_hill
        plot_esd(torch.rand(50), shape=(50, 60)), plot_hill(torch.rand(50), shape=(50, 60))
        assert shown() == before, "settings of the process"
        assert "matplotlib.pyplot" not in sys.modules and "pylab" not in sys.modules
    """
    done = run_code(script, anew=["matplotlib", "mpl_toolkits", "pylab"])
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_rows_missing_from_a_layer_are_called_missing() -> None:
    layer = LayerRows((make_row("fc", "fp32"),))
    _, (alpha, drift) = plot_layer(layer, Table((layer,), THREE))
    assert words(alpha).count("missing") == 2 and words(drift).count("missing") == 2


def test_empty_table_and_unknown_category_draw(tmp_path: Path) -> None:
    assert len(draw_all(Table((), THREE), tmp_path)) == 5
    plot_category(computed(1), "conv")


def test_thousands_of_experts_have_no_chart_each() -> None:
    row = Row("x", "moe_expert_up", 0, 9, 9, "float32", "", "fp32", "ok", alpha=2.0)
    experts = [replace(row, layer_name=f"layers.0.experts.{i}.up_proj") for i in range(1001)]
    router = replace(row, layer_name="layers.0.router", category="moe_router")
    assert [
        layer.first for layer in with_own_chart(Table.from_rows([*experts, router], ("fp32",)), every_layer=True)
    ] == [router]
    assert len(with_own_chart(Table.from_rows(experts[:50], ("fp32",)), every_layer=True)) == 50


def test_experts_by_block_have_a_cell_each_and_their_spread_beside_it() -> None:
    table = mixture(("gate", "down"))
    figure, (gate, spread, down, _, bar) = plot_experts(table)
    for cells in (gate, down):
        values = np.asarray(cells.images[0].get_array())
        assert values == pytest.approx(np.array([[4.0 + b + 0.1 * e for e in range(9)] for b in range(4)]))
    assert [gate.get_title(loc="left"), down.get_title(loc="left")] == ["moe_expert_gate", "moe_expert_down"]
    ranges = [tuple(line.get_xdata()) for line in spread.lines]
    assert ranges[:3] == [pytest.approx((4.0, 4.8)), pytest.approx((4.2, 4.6)), pytest.approx((4.4,))]
    assert any("72 layers, 4 blocks, up to 9 experts" in text for text in words(figure))
    assert bar.get_ylabel() == "alpha (no unit)"
    ratio, _ = plot_experts(table, "alpha_ratio", "bf16")
    assert any("alpha of noise" in text and "bf16" in text for text in words(ratio))


def test_experts_without_alpha_are_grey_and_told() -> None:
    rows = [lost(row) if ".2.mlp.experts.5." in row.layer_name else row for row in mixture()]
    figure, (cells, *_) = plot_experts(Table.from_rows(rows, THREE))
    assert np.ma.getmaskarray(cells.images[0].get_array()).sum() == 1
    assert any("no usable alpha" in text for text in words(figure))
    figure, _ = plot_experts(Table.from_rows([lost(row) for row in mixture()], THREE))
    assert "no usable alpha" in words(figure)
    with pytest.raises(OptionError, match="expected a table with at least 5 routed experts"):
        plot_experts(computed())


@pytest.mark.usefixtures("blank_charts")
def test_a_mixture_is_drawn_by_expert_too(tmp_path: Path) -> None:
    few = [row for row in mixture() if row.precision == "fp32" and row.block == 1]
    table = Table.from_rows(few, ("fp32",))
    seen: list[tuple[int, int]] = []
    paths = draw_all(table, tmp_path, on_progress=lambda *step: seen.append(step))
    assert {"experts_alpha_fp32.png", "experts_alpha_ratio_fp32.png"} <= {path.name for path in paths}
    assert seen[-1] == (len(paths), len(paths))


def test_a_cell_of_experts_has_their_quartiles() -> None:
    figure, (cells, _) = plot_heatmap(mixture())
    assert {f"{4.4 + b:.3f} [{4.2 + b:.3f}–{4.6 + b:.3f}]" for b in range(4)} <= set(words(cells))
    assert any("median [quartiles] of up to 9 layers per cell" in text for text in words(figure))


@pytest.mark.usefixtures("blank_charts")
def test_of_many_layers_those_that_stand_out_have_charts(tmp_path: Path) -> None:
    rows = [
        replace(make_row(f"layers.{b}.fc", p, 4.0 + 0.01 * b + 0.001 * (p == "nf4") * (b == 20)), relative_error=0.1)
        for b in range(FEW + 1)
        for p in ("fp32", "nf4")
    ]
    table = Table.from_rows(rows, ("fp32", "nf4"))
    names = [layer.first.layer_name for layer in standing_out(table)]
    assert names == [f"layers.{b}.fc" for b in (0, 1, 20, 39, 40)]
    evals = {"layers.20.fc": {"fp32": torch.rand(256)}}
    draw_all(table, tmp_path / "main", every_layer=False, spectra=evals)
    files = {path.relative_to(tmp_path / "main").as_posix() for path in (tmp_path / "main").rglob("*.png")}
    assert files == {
        "standing_out/spectrum_layers.20.fc.png",
        "standing_out/hill_layers.20.fc.png",
        "category_other.png",
        "alpha_distribution_by_precision.png",
        "heatmap_alpha_fp32.png",
        "heatmap_alpha_ratio_fp32.png",
        "heatmap_relative_error_nf4.png",
    }
    few = Table.from_rows(rows[: 2 * FEW], ("fp32", "nf4"))
    assert (
        len(with_own_chart(few, every_layer=False)) == FEW and len(with_own_chart(table, every_layer=True)) == FEW + 1
    )


def test_a_damaged_spectrum_costs_its_chart_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(dict[str, torch.Tensor]):
        def __missing__(self, key: str) -> torch.Tensor:
            raise SpectrumError("spectra/fc.npz: damaged")

    rows = [make_row("layers.0.fc", p) for p in ("fp32", "bf16")]
    drawn = draw_all(Table.from_rows(rows, ("fp32", "bf16")), tmp_path, spectra={"layers.0.fc": Damaged()})
    assert (
        not [path for path in drawn if "standing_out" in path.as_posix()] and "spectra/fc.npz: damaged" in caplog.text
    )
