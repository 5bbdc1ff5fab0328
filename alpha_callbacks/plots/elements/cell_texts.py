"""Hundreds of short texts as one artist: laying out each of them took four fifths of the time of a map."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.transforms import IdentityTransform

from alpha_callbacks.plots.elements.figure_text import text_width

_EM = 100.0  # points; glyphs are kept in this size
_MIDDLE = 0.365 * _EM  # half of the height of a digit


class CellTexts(Artist):
    """Texts centred at places of an axes: letters as one shape in pictures, real texts in PDF and SVG.

    Args:
        axes: the axes, whose data coordinates the places are in.
        size: font size in points.
        upright: write from bottom to top.
    """

    def __init__(self, axes: Axes, *, size: float, upright: bool) -> None:
        super().__init__()
        self._size, self._upright = size, upright
        self._home = axes
        self._texts: dict[str, list[tuple[float, float, str]]] = {}  # color -> places and texts
        self.set_zorder(3)
        axes.add_artist(self)

    def add(self, x: float, y: float, text: str, color: str) -> None:
        """Add a text of plain letters."""
        self._texts.setdefault(color, []).append((x, y, text))

    def get_children(self) -> list[Artist]:
        """Return the texts."""
        return list(self._real_texts())

    def draw(self, renderer: Any) -> None:
        """Draw them, in a picture of pixels as one path per colour."""
        if not isinstance(renderer, RendererAgg):
            for text in self._real_texts():
                text.draw(renderer)
            return
        scale = self._size * renderer.dpi / 72 / _EM
        for color, texts in self._texts.items():
            self._draw_shape(renderer, texts, color, scale)

    def _real_texts(self) -> Iterator[Text]:
        across = {"va": "center", "rotation": 90} if self._upright else {"va": "center_baseline"}
        for color, texts in self._texts.items():
            for x, y, text in texts:
                one = Text(x, y, text, size=self._size, ha="center", color=color, **across)
                one.set_figure(self._home.figure)
                one.set_transform(self._home.transData)
                one.axes = self._home
                yield one

    def _draw_shape(
        self, renderer: RendererAgg, texts: Sequence[tuple[float, float, str]], color: str, scale: float
    ) -> None:
        vertices, codes = list[np.ndarray](), list[np.ndarray]()
        places = self._home.transData.transform([(x, y) for x, y, _ in texts])
        for place, (_, _, text) in zip(places, texts, strict=True):
            shape, shape_codes = _shape(text)
            turned = np.column_stack([-shape[:, 1], shape[:, 0]]) if self._upright else shape
            vertices.append(turned * scale + place)
            codes.append(shape_codes)
        if not any(map(len, codes)):
            return
        gc = renderer.new_gc()
        gc.set_linewidth(0)
        renderer.draw_path(gc, Path(np.concatenate(vertices), np.concatenate(codes)), IdentityTransform(),
                           to_rgba(color))  # fmt: skip
        gc.restore()


@cache
def _shape(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline of a text around its middle, and its path codes."""
    glyphs = [_glyph(letter) for letter in text]
    starts = np.cumsum([0.0, *(advance for _, _, advance in glyphs)])
    vertices = [outline + (start, 0.0) for (outline, _, _), start in zip(glyphs, starts, strict=False)]
    codes = [code for _, code, _ in glyphs]
    if not glyphs:
        return np.zeros((0, 2)), np.zeros(0, dtype=Path.code_type)
    return np.concatenate(vertices) - (starts[-1] / 2, _MIDDLE), np.concatenate(codes)


@cache
def _glyph(letter: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the outline of a letter, its path codes, and how far it moves the next one."""
    advance = 72 * (text_width(f"0{letter}0", _EM) - text_width("00", _EM))
    if letter.isspace():  # matplotlib fails at a path of nothing
        return np.zeros((0, 2)), np.zeros(0, dtype=Path.code_type), advance
    path = TextPath((0, 0), letter, size=_EM, prop=FontProperties(family="DejaVu Sans"))
    codes = path.codes if path.codes is not None else np.zeros(0, dtype=Path.code_type)
    return np.asarray(path.vertices).reshape(-1, 2), codes, advance
