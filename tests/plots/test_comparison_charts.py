"""Charts of comparisons and histories: what they say, at every size and with nothing to show."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from alpha_callbacks.comparison.comparison import Comparison, compare
from alpha_callbacks.comparison.read_history import AlphaHistory, read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.plots.compare_heatmap import plot_comparison_heatmap
from alpha_callbacks.plots.compare_scatter import plot_comparison
from alpha_callbacks.plots.compare_sorted import plot_comparison_sorted
from alpha_callbacks.plots.draw_comparison import draw_comparison
from alpha_callbacks.plots.draw_history import draw_history
from alpha_callbacks.plots.elements.category_markers import category_marker
from alpha_callbacks.plots.history_heatmap import plot_history
from alpha_callbacks.plots.history_lines import plot_history_lines
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import category_color, in_order
from tests.support.rows import row, snapshot, table

PLOTS = (plot_comparison, plot_comparison_heatmap, plot_comparison_sorted)
NASTY = "model.layers.0.$x_{$<script>alert(1)</script>\n\u202e.q_proj"


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def lost() -> Table:
    return Table.from_rows([row("lm_head", "fp32", 1.0, status="failed", reason="no")], ("fp32",))


@pytest.fixture
def moved() -> Comparison:
    names = [f"model.layers.{i}.{part}" for i in range(4) for part in ("self_attn.q_proj", "mlp.up_proj")]
    b = Table.from_rows([row(name, "fp32", 2.0 + i + 0.1 * (-1) ** i) for i, name in enumerate(names)], ("fp32",))
    return compare(table(names), replace(b, layers=b.layers[:-1]), labels=("base", "tuned"))


def test_points_are_the_alphas(moved: Comparison) -> None:
    figure, (alphas, deltas) = plot_comparison(moved)
    points = np.concatenate([np.asarray(c.get_offsets()) for c in alphas.collections])
    assert sorted(points[:, 1] - points[:, 0]) == pytest.approx(sorted(pair.delta for pair in moved.compared))
    assert alphas.get_xlim() == alphas.get_ylim()
    assert (
        "7 layers" in words(figure) and "1 layer not compared" in words(figure) and "B: tuned (fp32)" in words(figure)
    )
    assert len(deltas.collections) == 2


def test_cells_are_the_deltas_and_colours_diverge_around_zero(moved: Comparison) -> None:
    figure, (_, bar) = plot_comparison_heatmap(moved)
    shown = words(figure)
    assert shown.count("+0.100") == 4 and shown.count("-0.100") == 3
    assert bar.get_ylim() == pytest.approx((-0.1, 0.1), rel=0.3)
    assert "×: not compared" in shown


def test_what_is_not_told_apart_is_a_bound_and_no_colour() -> None:
    shared = Table.from_rows(
        [row("model.layers.0.mlp.up_proj", "fp32", 3.0, method="bounded", alpha_error_bound=1e-6)], ("fp32",)
    )
    shown = words(plot_comparison_heatmap(compare(shared, shared))[0])
    assert "≤ 2.0e-06" in shown and "white: no resolved change" in shown
    figure, (every, _) = plot_comparison_sorted(compare(shared, shared))
    assert len(every.collections) == 3 and "no layer changed" in words(figure)  # stem, point, bar of the bound


def test_rounding_is_not_drawn_as_a_change() -> None:
    b = Table.from_rows([replace(r, alpha=r.alpha * (1 + 1e-13)) for r in table(precisions=("fp32",))], ("fp32",))
    comparison = compare(table(precisions=("fp32",)), b)
    _, (_, deltas) = plot_comparison(comparison)
    assert all(np.asarray(c.get_offsets())[0, 1] == 0 for c in deltas.collections)
    assert "e-1" not in words(plot_comparison_heatmap(comparison)[0])


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("size", [1, 3000])  # other tests draw a few
def test_any_number_of_layers_and_any_name(plot: object, size: int, tmp_path: Path) -> None:
    names = [NASTY, *(f"model.layers.{i // 40}.mlp.experts.{i % 40}.up_proj" for i in range(size - 1))]
    a = table(names, ("fp32",))
    b = Table.from_rows([replace(r, alpha=r.alpha + 0.01 * math.sin(i)) for i, r in enumerate(a)], ("fp32",))
    figure, _ = plot(compare(a, b, labels=(NASTY, "$" * 300)))  # type: ignore[operator]
    figure.savefig(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert max(image.size) < 3000


@pytest.mark.parametrize("plot", PLOTS)
def test_nothing_to_compare_is_said(plot: object, tmp_path: Path) -> None:
    figure, _ = plot(compare(lost(), lost()))  # type: ignore[operator]
    figure.savefig(tmp_path / "x.png")
    assert "Nothing could be compared: 1 without alpha" in words(figure)
    assert "0 layers" not in words(figure)


CONVS = tuple(f"net.stage{i}.a_projection_of_the_residual_stream" for i in range(5))


def ticks(axes: Axes, which: str = "y") -> list[str]:
    return [label.get_text() for label in getattr(axes, f"get_{which}ticklabels")()]


def test_a_model_without_blocks_has_a_named_row_a_layer() -> None:
    a, b = table((*CONVS, "net.head"), ("fp32",)), table((*CONVS, "net.head"), ("fp32",), 0.5)
    figure, (cells, _) = plot_comparison_heatmap(compare(a, b))
    names = ticks(cells)
    assert len(set(names)) == 6 and names[-1] == "head" and "stage3." in names[3]
    assert words(figure).count("+0.500") == 6 and "none" not in words(figure) and not cells.get_ylabel()


def test_names_of_the_farthest_layers_stay_apart_however_long() -> None:
    names = tuple(f"a.network.stage{i}.with_a_bottleneck.a_projection_of_the_residual_stream" for i in range(5))
    a, b = table(names, ("fp32",)), table(names, ("fp32",), 0.5)
    shown = ticks(plot_comparison_sorted(compare(a, b))[1][1])
    assert {label.split(".")[0] for label in shown} == {f"stage{i}" for i in range(5)}


def test_layers_outside_blocks_are_noted_under_the_map() -> None:
    names = ("model.layers.0.mlp.up_proj", *(f"head{i}" for i in range(6)))
    figure, (cells, _) = plot_comparison_heatmap(compare(table(names), table(names, shift=0.5)))
    assert ticks(cells) == ["0"] and "outside blocks: head0 +0.500, head1" in words(figure)
    assert "head3 +0.500 and 2 more" in words(figure)


def test_few_layers_have_no_median_and_no_rank() -> None:
    names = tuple(f"model.layers.{i}.mlp.up_proj" for i in range(8))
    enough, few = (plot_comparison(compare(table(names[:n]), table(names[:n], shift=0.5)))[0] for n in (8, 7))
    assert "median +0.5" in words(enough) and "rank correlation 1.0000" in words(enough)
    assert "median" not in words(few) and "rank" not in words(few) and "7 layers" in words(few)


def test_files_in_every_format(moved: Comparison, tmp_path: Path) -> None:
    paths = draw_comparison(moved, tmp_path / "plots", formats=("png", "pdf", "svg"))
    assert len(paths) == 9 and all(path.stat().st_size > 1000 for path in paths)
    first = [path.read_bytes() for path in paths]
    again = draw_comparison(moved, tmp_path / "plots", formats=("png", "svg"))
    assert [path.read_bytes() for path in again] == [
        file for path, file in zip(paths, first, strict=True) if path in again
    ]
    with pytest.raises(OptionError, match="formats: expected some of png, pdf, svg, got 'gif'"):
        draw_comparison(moved, tmp_path, formats=("gif",))


def test_colours_of_categories() -> None:
    assert category_color("moe_expert_up") == category_color("mlp_up") and category_color("new") == "#888888"
    assert (category_marker("attn_q"), category_marker("moe_expert_up"), category_marker("conv")) == ("o", "s", "D")
    assert in_order(["new", "lm_head", "attn_q", "new"]) == ["attn_q", "lm_head", "new"]


def run(folder: Path, *tables: Table) -> AlphaHistory:
    history = History(folder / HISTORY)
    for i, one in enumerate(tables):
        history.append(snapshot(i * 100, one))
    return read_history(folder)


def test_history_heat_map_has_layers_by_category_and_steps(tmp_path: Path) -> None:
    history = run(tmp_path, *(table(shift=0.1 * i) for i in range(5)))
    figure, (cells, _) = plot_history(history)
    (image,) = cells.images
    assert image.get_array().shape[:2] == (4, 5)
    shown = words(figure)
    assert "4 layers" in shown and "5 states, steps 0 to 400" in shown and "attn_q" in shown and "400" in shown
    assert "Change of alpha since the start, bf16" in words(plot_history(history, "change", "bf16")[0])


def test_every_row_of_the_history_says_which_layer_it_is(tmp_path: Path) -> None:
    names = ("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", *CONVS, "lm_head")
    figure, (cells, _) = plot_history(run(tmp_path, table(names), table(names, shift=1)))
    *labels, _ = ticks(cells)
    assert labels[:2] == ["0", "1"] and "lm_head" in words(figure) and "other" in words(figure)
    assert [f"stage{i}." in label for i, label in enumerate(ticks(cells)[3:])] == [True] * 5


def test_rows_with_names_are_high_enough_for_them(tmp_path: Path) -> None:
    blocks = tuple(f"model.layers.{i}.self_attn.{p}_proj" for i in range(60) for p in "qkvo")
    names = (*blocks, "wte", "wpe", "lm_head", "score")
    figure, (cells, _) = plot_history(run(tmp_path, table(names), table(names, shift=1)))
    figure.canvas.draw()
    shown = sorted((one.get_window_extent() for one in cells.get_yticklabels() if one.get_text()), key=lambda b: b.y0)
    assert {"wte", "wpe", "score"} <= set(ticks(cells)) and len(shown) > 60
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(shown)), "labels overlap"


def test_lines_outside_blocks_have_their_own_colours_and_names(tmp_path: Path) -> None:
    names = (*(f"part{i}" for i in range(9)), "model.layers.0.mlp.up_proj", "lm_head")
    _, axes = plot_history_lines(run(tmp_path, table(names), table(names, shift=1)))
    up, head, other = axes[:3]
    assert not up.get_legend().get_texts() and not head.get_legend().get_texts()
    told = [text.get_text() for text in other.get_legend().get_texts()]
    assert told == [*(f"part{i}" for i in range(6)), "3 more"]
    keys = [handle.get_color() for handle in other.get_legend().legend_handles]
    assert len(set(keys)) == 7 and [line.get_color() for line in other.lines[:7]] == keys


def test_history_lines_have_a_panel_a_category(tmp_path: Path) -> None:
    history = run(tmp_path, *(table(shift=0.1 * i) for i in range(5)))
    figure, axes = plot_history_lines(history, "alpha_ratio")
    assert [len(panel.lines) for panel in axes[:3]] == [2, 1, 1]
    assert list(axes[0].lines[0].get_ydata()) == pytest.approx([(2 + 0.1 * i) / 5 for i in range(5)])
    assert "attn_q" in words(figure)


@pytest.mark.parametrize("plot", [plot_history, plot_history_lines])
@pytest.mark.parametrize("value", ["alpha", "change"])
def test_histories_with_gaps_one_state_or_no_alpha(plot: object, value: str, tmp_path: Path) -> None:
    half = table(layers=("lm_head", "model.layers.9.mlp.up_proj"))
    for i, tables in enumerate([(table(), half, table()), (table(),), (lost(), lost())]):
        figure, _ = plot(run(tmp_path / str(i), *tables), value)  # type: ignore[operator]
        figure.savefig(tmp_path / f"{i}.png")
        if i == 2:
            assert "no usable alpha" in words(figure)


def test_many_experts_become_medians(tmp_path: Path) -> None:
    names = [f"model.layers.{i // 200}.mlp.experts.{i % 200}.up_proj" for i in range(600)]
    history = run(tmp_path, table(names, ("fp32",)), table(names, ("fp32",), 1.0))
    figure, (cells, _) = plot_history(history)
    assert cells.images[0].get_array().shape[:2] == (3, 2)
    assert "median of each block (600 layers)" in words(figure)
    _, axes = plot_history_lines(history)
    assert len(axes[0].lines) == 3


def test_history_files(tmp_path: Path) -> None:
    paths = draw_history(run(tmp_path, table(), table(shift=1)), tmp_path / "plots")
    assert [path.name for path in paths] == [
        f"history_{kind}_{value}.png" for value in ("alpha", "change") for kind in ("heatmap", "lines")
    ]
    with pytest.raises(OptionError, match="precision: expected one of"):
        draw_history(read_history(tmp_path), tmp_path, precision="fp16")
