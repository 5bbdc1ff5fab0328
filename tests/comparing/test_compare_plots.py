"""Charts of comparisons and histories: what they say, at every size and with nothing to show."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from alpha_callbacks.comparing.comparison import Comparison, compare
from alpha_callbacks.comparing.history_reader import AlphaHistory, read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.history import HISTORY, History
from alpha_callbacks.plots.category_colors import category_color, category_marker, in_order
from alpha_callbacks.plots.compare_draw import draw_comparison
from alpha_callbacks.plots.compare_heatmap import plot_comparison_heatmap
from alpha_callbacks.plots.compare_scatter import plot_comparison
from alpha_callbacks.plots.compare_sorted import plot_comparison_sorted
from alpha_callbacks.plots.history_draw import draw_history
from alpha_callbacks.plots.history_heatmap import plot_history
from alpha_callbacks.plots.history_lines import plot_history_lines
from alpha_callbacks.table import Table
from tests.conftest import REPOSITORY
from tests.rows import row, snapshot, table

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
    assert "≤ 2.0e-06" in shown and "white: not told apart" in shown
    figure, (every, _) = plot_comparison_sorted(compare(shared, shared))
    assert len(every.collections) == 3 and "no layer moved" in words(figure)  # stem, point, bar of the bound


def test_rounding_is_not_drawn_as_a_change() -> None:
    b = Table.from_rows([replace(r, alpha=r.alpha * (1 + 1e-13)) for r in table(precisions=("fp32",))], ("fp32",))
    comparison = compare(table(precisions=("fp32",)), b)
    _, (_, deltas) = plot_comparison(comparison)
    assert all(np.asarray(c.get_offsets())[0, 1] == 0 for c in deltas.collections)
    assert "e-1" not in words(plot_comparison_heatmap(comparison)[0])


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("size", [1, 7, 3000])
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
    assert "no layer" in words(figure)


def test_files_in_every_format(moved: Comparison, tmp_path: Path) -> None:
    paths = draw_comparison(moved, tmp_path / "plots", formats=("png", "pdf", "svg"))
    assert len(paths) == 9 and all(path.stat().st_size > 1000 for path in paths)
    first = [path.read_bytes() for path in paths]
    assert [
        path.read_bytes() for path in draw_comparison(moved, tmp_path / "plots", formats=("png", "pdf", "svg"))
    ] == first
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


def test_history_lines_have_a_panel_a_category(tmp_path: Path) -> None:
    history = run(tmp_path, *(table(shift=0.1 * i) for i in range(5)))
    figure, axes = plot_history_lines(history, "alpha_ratio")
    assert [len(panel.lines) for panel in axes[:3]] == [2, 1, 1]
    assert list(axes[0].lines[0].get_ydata()) == pytest.approx([(2 + 0.1 * i) / 5 for i in range(5)])
    assert "attn_q" in words(figure)


@pytest.mark.parametrize("plot", [plot_history, plot_history_lines])
@pytest.mark.parametrize("value", ["alpha", "alpha_ratio", "change"])
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


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from tests.rows import table; from alpha_callbacks.comparing.comparison import compare;"
        "from alpha_callbacks.plots.compare_draw import draw_comparison;"
        "import tempfile, pathlib; draw_comparison(compare(table(), table(shift=1)), pathlib.Path(tempfile.mkdtemp()));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
