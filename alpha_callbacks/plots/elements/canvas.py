"""Figures without pyplot: one look for all charts, and files that are complete or absent."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from alpha_callbacks.errors import OptionError
from alpha_callbacks.plots.elements.pdf_fonts import without_layout_tables
from alpha_callbacks.plots.elements.text_images import TextImageCanvas
from alpha_callbacks.tables.vocabulary import GREY, INK
from alpha_callbacks.utils.drafts import draft_of

FORMATS = ("png", "pdf", "svg")

# Settings that a user's matplotlibrc may have changed and that would move text or run LaTeX on layer names.
_RESET = (
    "axes.", "boxplot.", "errorbar.", "figure.", "font.", "grid.", "hatch.", "image.", "legend.", "lines.",
    "markers.", "mathtext.", "patch.", "path.", "pdf.", "savefig.", "scatter.", "svg.", "text.", "xtick.", "ytick.",
)  # fmt: skip
_STYLE: Any = {  # matplotlib's stubs want a dict of literal keys
    **{name: value for name, value in matplotlib.rcParamsDefault.items() if name.startswith(_RESET)},
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so text has the same size everywhere
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,  # as in the printed values
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.8,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "svg.hashsalt": "alpha_callbacks",
}
_LOCK = threading.RLock()  # rcParams are per process: two threads must not restore each other's
_depth = 0

_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextmanager
def style() -> Iterator[None]:
    """Use the style of these charts inside the block and restore the user's rcParams after it."""
    global _depth
    with _LOCK:
        if _depth:
            yield
            return
        _depth += 1
        try:
            with matplotlib.rc_context(_STYLE):
                yield
        finally:
            _depth -= 1


def styled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function inside `style`."""

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with style():
            return function(*args, **kwargs)

    return run


def new_figure(width: float, height: float, *, dpi: int = 130) -> Figure:
    """Return a figure of this size in inches with an Agg canvas; it is freed with its last reference."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    TextImageCanvas(figure)
    return figure


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place given in inches, so margins do not depend on the size of the figure."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))


@styled
def save(figure: Figure, path_without_suffix: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write a figure in each format and return the paths.

    The same figure gives the same bytes: no dates, no random ids. A file appears whole or not at all.

    Raises:
        OptionError: unknown format.
    """
    check_formats(formats)
    paths = []
    for name in formats:  # not with_suffix: layer names hold dots
        path = path_without_suffix.parent / f"{path_without_suffix.name}.{name}"
        with draft_of(path) as draft, draft.open("wb") as file:
            _WRITERS[name](figure, file)
        paths.append(path)
    return paths


def check_formats(formats: Sequence[str]) -> None:
    """Raise OptionError unless every format can be written."""
    for name in formats:
        if name not in FORMATS:
            raise OptionError(f"formats: expected some of {', '.join(FORMATS)}, got {name!r}.")


def _write_png(figure: Figure, file: Any) -> None:
    """Draw once and encode fast; savefig would lay out all text twice."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(figure)
    canvas.draw()
    size = canvas.get_width_height(physical=True)
    pixels = Image.frombuffer("RGBA", size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")
    pixels.save(file, format="png", compress_level=2, dpi=(figure.dpi, figure.dpi))


def _write_pdf(figure: Figure, file: Any) -> None:
    with without_layout_tables():
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})


def _write_svg(figure: Figure, file: Any) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None})


_WRITERS: dict[str, Callable[[Figure, Any], None]] = {"png": _write_png, "pdf": _write_pdf, "svg": _write_svg}
