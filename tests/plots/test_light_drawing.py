"""Texts from kept images, and ticks as one artist, against matplotlib's own drawing."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from PIL import Image

from alpha_callbacks.plots.elements import text_images
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.light_ticks import LightTicks, set_ticks
from alpha_callbacks.tables.vocabulary import FAINT

TEXTS = (
    (0.5, 0.5, "step 1000", 0),
    (0.2, 0.5, "alpha", 90),
    (0.7, 0.2, "aslant", 30),
    (0.5, 0.8, "$x^2$", 0),
    (0.99, 0.1, "over the edge", 0),
    (0.5, 0.01, "below", 0),
    (2.0, 2.0, "outside", 0),
    (0.1, 0.9, " ", 0),
)


def pixels_of(figure: Figure) -> np.ndarray:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def unlike(first: np.ndarray, second: np.ndarray) -> float:
    """Return how far squares of five pixels differ, as a share of the ink: a shift of half a pixel is about 0.1."""
    inks = [(255 - picture[:260, :390]).reshape(52, 5, 78, 5, 3).mean(axis=(1, 3)) for picture in (first, second)]
    return float(np.abs(inks[0] - inks[1]).sum() / inks[1].sum())


@styled
def test_texts_look_as_matplotlib_draws_them() -> None:
    ours, theirs = new_figure(3, 2), Figure(figsize=(3, 2), dpi=130)
    FigureCanvasAgg(theirs)
    for figure in (ours, theirs):
        for x, y, text, angle in TEXTS:
            figure.text(x, y, text, rotation=angle, color="#0072b2", alpha=0.8)
    assert unlike(pixels_of(ours), pixels_of(theirs)) < 0.12


@styled
def test_texts_need_no_ground() -> None:
    drawn = []
    for light in (True, False):
        figure = new_figure(3, 2)
        if not light:
            FigureCanvasAgg(figure)
        for x, y, text, angle in TEXTS:
            figure.text(x, y, text, rotation=angle, color="#0072b2", alpha=0.8)
        file = io.BytesIO()
        figure.savefig(file, format="png", transparent=True)
        drawn.append(np.asarray(Image.open(file)).astype(float))
    assert drawn[1][..., 3].sum() > 0
    assert unlike(*(255 - picture[..., 3:].repeat(3, axis=2) for picture in drawn)) < 0.12
    solid = drawn[0][drawn[0][..., 3] > 190]
    assert len(solid) and np.abs(solid[:, :3] - (0x00, 0x72, 0xB2)).max() < 4


@styled
def test_the_image_of_a_long_text_is_no_square(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[tuple[float, float]]()

    class Seen(RendererAgg):
        def __init__(self, width: float, height: float, dpi: float) -> None:
            sizes.append((width, height))
            super().__init__(width, height, dpi)

    monkeypatch.setattr(text_images, "RendererAgg", Seen)
    for angle, side in ((0, 1), (90, 0)):
        sizes.clear()
        figure = new_figure(9, 9, dpi=300)
        figure.text(0.5, 0.5, "a title of many letters " * 5, rotation=angle)
        pixels_of(figure)
        assert max(size[1 - side] for size in sizes) > 1000 and max(size[side] for size in sizes) < 200


def test_the_font_of_a_users_text_follows_their_settings() -> None:
    drawn = []
    for family in ("DejaVu Sans", "DejaVu Serif"):
        with matplotlib.rc_context({"font.sans-serif": [family]}):
            figure = new_figure(3, 2)
            figure.text(0.2, 0.5, "mine", family="sans-serif")
            drawn.append(pixels_of(figure))
    assert unlike(*drawn) > 0.1


@styled
def test_a_clipped_text_stays_clipped() -> None:
    figure = new_figure(3, 2)
    axes = add_axes(figure, 1, 0.5, 1, 1)
    axes.set_axis_off()
    axes.text(0.8, 0.5, "a long text", clip_on=True)
    assert (pixels_of(figure)[:, 263:] == 255).all()


@styled
def test_light_ticks_stand_where_those_of_matplotlib_do() -> None:
    drawn = []
    for light in (True, False):
        figure = new_figure(4, 2)
        axes, right = add_axes(figure, 0.8, 0.5, 2, 1.2), add_axes(figure, 3, 0.5, 0.2, 1.2)
        axes.set_xlim(-0.5, 3.5)
        axes.set_ylim(0, 7)
        right.set_ylim(1, 0)
        right.yaxis.tick_right()
        if light:
            set_ticks(axes, "x", range(4), list("abcd"))
            LightTicks(axes, "bottom", size=9, length=0)
            LightTicks(axes, "left", size=9, grid=True)
            LightTicks(right, "right", size=9, length=2, pad=2)
            right.xaxis.set_visible(False)
        else:
            axes.set_xticks(range(4), list("abcd"))
            axes.tick_params(labelsize=9)
            axes.tick_params(axis="x", length=0)
            axes.grid(axis="y", color=FAINT, linewidth=0.8)
            right.tick_params(axis="y", labelsize=9, length=2, pad=2)
            right.set_xticks([])
        drawn.append(pixels_of(figure))
        assert [text.get_text() for text in axes.get_xticklabels()] == list("abcd")
    assert unlike(*drawn) < 0.12
