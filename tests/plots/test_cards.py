import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch

from alpha_callbacks.plots.cards.card_bars import bar_card, shared_remarks
from alpha_callbacks.plots.cards.card_heat import heat_card
from alpha_callbacks.plots.cards.draw_cards import draw_cards
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import precision_colors
from tests.support.chart_tables import THREE, all_lost, computed, lost, make_row, names, shared, words

NAN = math.nan
BARS = [f"bars_{name}" for name in ("attn_q", "attn_k", "mlp_up", "mlp_down", "lm_head")]


def bars_of(axes: Axes) -> dict[str, list[float]]:
    """Return the heights of the bars of each precision."""
    patches = [patch for patch in [*axes.patches, *axes.artists] if isinstance(patch, PathPatch)]
    return {str(patch.get_label()): list(patch.get_path().vertices[1::5, 1]) for patch in patches}


def dots_of(axes: Axes) -> dict[str, list[float]]:
    """Return the drifts of each precision."""
    names = {color: name for name, color in precision_colors(THREE).items()}
    return {names[str(line.get_color())]: list(line.get_ydata()) for line in axes.lines if line.get_marker() == "o"}  # type: ignore[arg-type]


def test_a_card_a_category_in_order_and_heat_maps() -> None:
    cards = draw_cards(computed(3), title="step 7")
    assert list(cards) == ["heat_alpha_ratio", "heat_drift", *BARS]
    for pixels in cards.values():
        assert pixels.dtype == np.uint8 and pixels.shape == (385, 700, 3) and pixels.flags.c_contiguous
        assert pixels.std() > 20


def test_the_same_table_gives_the_same_pixels() -> None:
    first, second = draw_cards(computed(1), title="step 7"), draw_cards(computed(1), title="step 7")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    other = draw_cards(computed(1), title="step 8")
    assert all(not np.array_equal(first[name], other[name]) for name in first)


def test_cards_of_updates_name_layers_without_saying_update_again() -> None:
    sizes = {"layers.0.q_proj": 1.25, "layers.0.up_proj": 0.05, "layers.1.q_proj": 0.5}
    rows = [
        make_row(
            name, layer_name=f"{name} (update)", category=f"{make_row(name).category}_update", relative_size=size
        )  # fmt: skip
        for name, size in sizes.items()
    ]
    _, (cells, _) = heat_card(Table.from_rows(rows, ("fp32",)), "relative_size", "fp32")
    assert [label.get_text() for label in cells.get_yticklabels()] == ["attn_q", "mlp_up"]
    assert {"125", "5", "50"} <= set(words(cells))
    head = make_row("lm_head", layer_name="lm_head (update)", category="lm_head_update", block=None)
    _, panels = bar_card(Table.from_rows([head], ("fp32",)), "lm_head_update")
    assert [label.get_text() for label in panels[-1].get_xticklabels()] == ["lm_head"]


def test_no_drift_map_unless_a_drift_was_measured() -> None:
    assert "heat_drift" not in draw_cards(shared())
    assert "heat_drift" not in draw_cards(computed(2, ("fp32",)))
    assert draw_cards(Table((), THREE)) == {}


def test_bars_are_the_alphas_and_the_drifts_have_their_own_axis() -> None:
    table = computed(32)
    figure, (alpha, drift) = bar_card(table, "attn_q", "step 1000")
    layers = [layer for layer in table.layers if layer.first.category == "attn_q"]
    assert bars_of(alpha) == {"fp32": pytest.approx([layer["fp32"].alpha for layer in layers])}
    drifts = {name: pytest.approx([layer.drift(name, "fp32") for layer in layers]) for name in ("fp16", "bf16")}
    assert dots_of(drift) == drifts
    assert alpha.get_ylim()[0] == 0 and alpha.get_ylim()[1] > 7.5
    assert [tick.get_text() for tick in drift.get_xticklabels()] == [str(block) for block in range(0, 32, 4)]
    assert {"attn_q  ·  step 1000", "fp32", "noise (MP)", "drift: alpha − alpha(fp32)"} <= set(words(figure))


def test_a_few_layers_print_their_values() -> None:
    _, (alpha, _) = bar_card(computed(2), "lm_head")
    assert "3.80000" in words(alpha) and not {"3.80100", "3.80200"} & set(words(alpha))


def test_what_was_not_measured_is_said_in_words() -> None:
    table = shared(bound=1e-6)
    figure, panels = bar_card(table, "attn_q")
    assert len(panels) == 1
    remarks = ["bf16: same bits as fp32, same alpha", "fp16: same as fp32 within 1.0e-06 (proved)"]
    assert shared_remarks(table.layers, table) == remarks
    assert set(remarks) <= set(words(figure))


def test_a_bound_of_the_fast_solver_is_proved_too() -> None:
    rows = [make_row("fc", p, 4.0, method="computed", solver="gram_fp32", alpha_error_bound=1e-4) for p in THREE]
    table = Table.from_rows(rows, THREE)
    assert shared_remarks(table.layers, table) == ["fp16, bf16: same as fp32 within 2.0e-04 (proved)"]


def test_layers_bounded_beside_measured_ones_are_counted() -> None:
    rows = [
        make_row(name, p, 4.0 + 0.01 * (p == "bf16" and not b), method="bounded" if p == "bf16" and b else "computed",
                 alpha_error_bound=3e-7 if p == "bf16" and b else math.nan)
        for b, name in enumerate(("layers.0.fc1", "layers.1.fc1", "layers.2.fc1"))
        for p in ("fp32", "bf16")
    ]  # fmt: skip
    table = Table.from_rows(rows, ("fp32", "bf16"))
    assert shared_remarks(table.layers, table) == ["bf16: 2 layers not measured, within 3.0e-07"]
    assert dots_of(bar_card(table, "mlp_up")[1][1]) == {"bf16": pytest.approx([0.01, NAN, NAN], nan_ok=True)}


def test_a_layer_without_alpha_gets_a_cross() -> None:
    rows = [
        lost(row) if row.layer_name == "model.layers.3.self_attn.q_proj" and row.precision == "fp16" else row
        for row in computed(32)
    ]
    figure, (_, drift) = bar_card(Table.from_rows(rows, THREE), "attn_q")
    crosses = [line for line in drift.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[pytest.approx(3.0, abs=0.5)]]
    assert "no alpha" in words(figure)
    rows = [lost(row) if row.block == 3 and row.precision == "fp32" else row for row in computed(32)]
    table = Table.from_rows(rows, THREE)
    _, (alpha, _) = bar_card(table, "attn_q")
    assert [list(line.get_xdata()) for line in alpha.lines if line.get_marker() == "x"] == [[3.0]]
    assert "fp16: 4 layers with an alpha where fp32 has none" in shared_remarks(table.layers, table)
    assert set(draw_cards(all_lost())) == {*BARS, "heat_alpha_ratio"}


def test_experts_show_medians_with_whiskers() -> None:
    rows = [
        make_row(f"model.layers.{b}.mlp.experts.{e}.up_proj", p, 4.0 + b + 0.1 * e)
        for b in range(4)
        for e in range(9)
        for p in THREE
    ]
    figure, (alpha, _) = bar_card(Table.from_rows(rows, THREE), "moe_expert_up")
    (line,) = [line for line in alpha.lines if line.get_label() == "fp32"]
    assert list(line.get_ydata()) == pytest.approx([4.4, 5.4, 6.4, 7.4])
    assert "median of each block, quartiles, smallest to largest" in words(figure)


def test_heat_map_prints_short_values_with_blocks_along_x() -> None:
    table = computed(3)
    figure, (cells, _) = heat_card(table, "alpha", "fp32", "step 7")
    assert {"3.00", "3.40"} <= set(words(cells))
    assert [tick.get_text() for tick in cells.get_yticklabels()] == ["attn_q", "attn_k", "mlp_up", "mlp_down"]
    assert [tick.get_text() for tick in cells.get_xticklabels()] == ["0", "1", "2"]
    figure, (cells, _) = heat_card(table, "drift", "bf16", "step 7")
    assert words(cells).count("+2.0") == 12
    assert "drift, bf16 − fp32  ·  step 7  ·  in 1e-03" in words(figure)
    assert words(heat_card(shared(), "drift", "fp16")[1][0]).count("≤") == 8


@pytest.mark.parametrize("blocks", [1, 7, 13, 80, 200])
def test_any_number_of_blocks(blocks: int) -> None:
    table = Table.from_rows(
        [make_row(f"h.{b}.attn.q_proj", p, 4.0 + 0.001 * b) for b in range(blocks) for p in THREE], THREE
    )
    pixels = draw_cards(table)["bars_attn_q"]
    assert pixels.shape[1] >= 3 * blocks and pixels.shape[1] == pytest.approx(pixels.shape[0] * 700 / 385, rel=0.01)


def test_two_layers_a_block_and_layers_outside() -> None:
    layers = [f"layers.{b}.attn.{n}" for b in range(12) for n in ("q_a_proj", "q_b_proj")] + [
        "head.q_proj",
        "neck.q_proj",
    ]
    table = Table.from_rows([make_row(name, p) for name in layers for p in THREE], THREE)
    _, panels = bar_card(table, "attn_q")
    ticks = panels[-1].get_xticks()
    labels = [tick.get_text() for tick in panels[-1].get_xticklabels()]
    assert labels == ["0", "4", "8", "outside"] and list(ticks) == [0, 8, 16, 24]


def test_names_are_never_mathtext_and_unknown_categories_come_last() -> None:
    rows = [replace(make_row(r"$\frac{1}{0}$" + "\n", p), category="odd$x$") for p in THREE]
    rows += [make_row(name, p) for name in names(1) for p in THREE]
    cards = draw_cards(Table.from_rows(rows, THREE), title="$x")
    assert list(cards)[:2] == ["heat_alpha_ratio", "heat_drift"] and list(cards)[-1] == "bars_odd$x$"


def test_figures_are_freed() -> None:
    figure = weakref.ref(bar_card(computed(2), "attn_q")[0])
    gc.collect()
    assert figure() is None


def test_a_map_without_numbers_has_no_ticks_of_a_scale() -> None:
    pixels = draw_cards(all_lost())["heat_alpha_ratio"]
    assert (pixels[:, 620:] == 255).all() and not (draw_cards(computed(1))["heat_alpha_ratio"][:, 620:] == 255).all()
