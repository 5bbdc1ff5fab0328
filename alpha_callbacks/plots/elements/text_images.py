"""An Agg canvas that keeps the images of texts: most labels come back in the next chart, or state of a run."""

from functools import cache, lru_cache
from math import ceil, cos, radians, sin
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties

_MOST = 2048  # texts that are kept
_ROOM = 4  # pixels around a text, for what its metrics leave out
_FAMILY = ["DejaVu Sans"]  # of all charts here; which font "sans-serif" is, depends on settings that may change


class TextImageCanvas(FigureCanvasAgg):
    """Draws as FigureCanvasAgg does, texts at whole pixels."""

    renderer: RendererAgg

    def get_renderer(self) -> RendererAgg:
        """Return the renderer of this size, a new one where the size has changed."""
        width, height = self.get_width_height(physical=True)
        key = (width, height, self.figure.dpi)
        if self._lastKey != key:
            self.renderer, self._lastKey = _TextImageRenderer(width, height, self.figure.dpi), key
        return self.renderer


class _TextImageRenderer(RendererAgg):
    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        if ismath or prop.get_family() != _FAMILY:
            width, height, descent = super().get_text_width_height_descent(s, prop, ismath)
            return width, height, descent
        return _extent(s, prop.copy(), self.dpi, matplotlib.rcParams["text.hinting"])

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: FontProperties, angle: float, ismath: Any = False,
        mtext: Any = None,
    ) -> None:  # fmt: skip
        clipped = gc.get_clip_rectangle() is not None or gc.get_clip_path()[0] is not None
        if ismath or clipped or prop.get_family() != _FAMILY or not gc.get_antialiased():
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        image, left, top = _image(s, prop.copy(), angle, self.dpi, matplotlib.rcParams["text.hinting"])
        left, top = left + round(x), top + round(y)
        right, bottom = (min(left + image.shape[1], int(self.width)), min(top + image.shape[0], int(self.height)))
        inside = image[max(0, -top) : bottom - top, max(0, -left) : right - left]
        if not inside.size:
            return
        color = gc.get_rgb()
        cover = inside[..., None] * np.float32(color[3] if len(color) > 3 else gc.get_alpha())
        _lay_over(np.asarray(self.buffer_rgba())[max(0, top) : bottom, max(0, left) : right], cover, color[:3])


def _lay_over(pixels: np.ndarray, cover: np.ndarray, color: tuple[float, float, float]) -> None:
    """Colour pixels as far as they are covered; a canvas may have no ground (`savefig(transparent=True)`)."""
    below = (1 - cover) * (pixels[..., 3:] / np.float32(255))
    whole = cover + below
    mixed = 255 * np.asarray(color, dtype=np.float32) * cover + pixels[..., :3] * below
    pixels[..., :3] = np.rint(mixed / np.maximum(whole, np.float32(1e-6)))
    pixels[..., 3:] = np.rint(255 * whole)


@cache
def _bare(dpi: float) -> RendererAgg:
    """Return a renderer that measures."""
    return RendererAgg(1, 1, dpi)


@lru_cache(maxsize=_MOST)
def _extent(text: str, font: FontProperties, dpi: float, hinting: object) -> tuple[float, float, float]:
    del hinting  # what matplotlib takes from its settings, as a part of the key
    width, height, descent = _bare(dpi).get_text_width_height_descent(text, font, False)
    return width, height, descent


@lru_cache(maxsize=_MOST)
def _image(text: str, font: FontProperties, angle: float, dpi: float, hinting: object) -> tuple[np.ndarray, int, int]:
    """Return how far each pixel is covered, in 0 to 1, and where its left and top are from the text's origin."""
    width, height, _ = _extent(text, font, dpi, hinting)
    across, up = abs(cos(radians(angle))), abs(sin(radians(angle)))
    # Not a square: of a title at 600 dpi it would take gigabytes.
    wide, high = ceil(across * width + up * height) + _ROOM, ceil(up * width + across * height) + _ROOM
    renderer = RendererAgg(2 * wide, 2 * high, dpi)
    renderer.draw_text(renderer.new_gc(), wide, high, text, font, angle)
    covered = np.asarray(renderer.buffer_rgba())[..., 3]
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    if not len(rows):  # of blanks
        return np.zeros((0, 0), dtype=np.float32), 0, 0
    top, left = int(rows[0]), int(columns[0])
    part = covered[top : rows[-1] + 1, left : columns[-1] + 1]
    return part.astype(np.float32) / 255, left - wide, top - high
