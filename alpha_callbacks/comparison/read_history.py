"""alpha_hill_history.csv -> the history of a run."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

from alpha_callbacks.comparison.run_history import RunHistory
from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.foreign_text import from_csv_cell
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.history_columns import ESTIMATES, HEADER, HISTORY, LATER
from alpha_callbacks.utils.regular_files import read_regular, reason_of

_WORDS = ("layer_name", "category", "precision", "event", "status", "method", "stored_dtype", "reason")
_NUMBERS = ("block", "epoch", "alpha", "alpha_ratio", "alpha_error_bound", "stderr", "ks_distance", "spectral_norm",
            "stable_rank")  # fmt: skip
_WHOLE = ("k_used", "n_eigs")
_LATER_NUMBERS = ("relative_size", "alpha_spread", *ESTIMATES)
_LATER_WORDS = tuple(name for name in LATER if name not in _LATER_NUMBERS)
_LARGEST = {"block": 10**18, "k_used": 2**32 - 1, "n_eigs": 2**32 - 1}  # names have any index of up to 18 digits
_KEY = ("step", "layer_name", "precision")


@dataclass(frozen=True)
class AlphaHistory(RunHistory):
    """All measured states of a training run, which show themselves in notebooks.

    Attributes:
        frame: the rows of the file, by step.
        path: the file.
        lacking: columns that it lacks because an earlier version wrote it; empty in the frame.
    """

    lacking: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from alpha_callbacks.comparison.notebook_views import history_html

        return history_html(self)


def read_history(path: str | Path) -> AlphaHistory:
    """Read the history that the callbacks and `Monitor` write.

    A last line cut short by a kill is left out.

    Args:
        path: alpha_hill_history.csv, the folder that it is in, or the output folder of a run (with `alpha_hill/`).

    Raises:
        ResultsError: no such file, not a history, or one that two runs wrote to at the same time.
    """
    import pandas

    file = find_history(Path(path))
    try:
        content = read_regular(file)
        content = content[: content.rfind(b"\n") + 1]
        kinds = dict.fromkeys((*_WORDS, *_LATER_WORDS), "category")  # a word is made once, not once a row
        kinds |= dict.fromkeys((*_NUMBERS, *_LATER_NUMBERS), "float64")
        columns = pandas.read_csv(io.BytesIO(content), nrows=0).columns
        missing = [name for name in ("step", *_WORDS, *_NUMBERS, *_WHOLE) if name not in columns]
        if missing:
            raise ResultsError(f"{file}: expected the columns {','.join(HEADER)}, {', '.join(missing)} are missing.")
        frame = pandas.read_csv(
            io.BytesIO(content),
            usecols=lambda name: name in ("step", *_WORDS, *_NUMBERS, *_WHOLE, *LATER),
            dtype={**kinds, "step": "int64", **dict.fromkeys(_WHOLE, "int64")},
            keep_default_na=False,
            na_values={name: [""] for name in (*_NUMBERS, *_LATER_NUMBERS)},
        )
        words = [name for name in (*_WORDS, *_LATER_WORDS) if name in frame]
        # pandas makes numbers of words that all look like some: the layers "0" and "1" of an nn.Sequential.
        taken = [name for name in words if not all(isinstance(word, str) for word in frame[name].cat.categories)]
        if taken:
            text = pandas.read_csv(io.BytesIO(content), usecols=taken, dtype="str", keep_default_na=False)
            frame[taken] = text[taken]
    except FileNotFoundError as error:
        raise ResultsError(
            f"{file}: expected the history of a training run, found nothing there. Name the folder alpha_hill of a run."
        ) from error
    except (OSError, ValueError, OverflowError) as error:  # pandas' own errors and UnicodeDecodeError are ValueErrors
        raise ResultsError(
            f"{file}: expected the history of a training run ({HISTORY}), got {reason_of(error)}."
        ) from error
    if frame.empty:
        raise ResultsError(f"{file}: expected at least one measured step, found none.")
    try:
        for name in frame["precision"].unique():
            get_precision(name)
    except OptionError as error:
        raise ResultsError(f"{file}: {error}") from error
    for name, largest in _LARGEST.items():
        odd = frame[name][~(frame[name].isna() | frame[name].between(0, largest))]
        if len(odd):
            raise ResultsError(f"{file}: expected a whole number from 0 as {name}, got {odd.iloc[0]}.")
    back = frame["step"].diff() < 0
    if back.any() or frame.duplicated(list(_KEY)).any():
        raise ResultsError(
            f"{file}: expected the history of one run, whose steps grow, got some steps again. Two runs wrote to this "
            "file, and their states cannot be told apart; give each its own output_dir."
        )
    lacking = tuple(name for name in LATER if name not in frame)
    for name in lacking:
        frame[name] = "" if name in _LATER_WORDS else math.nan
    for name in (*_WORDS, *_LATER_WORDS):
        cells = frame[name].astype("category")
        frame[name] = cells.map({cell: from_csv_cell(cell) for cell in cells.cat.categories}).astype("category")
    return AlphaHistory(frame, file, lacking)


def find_history(path: Path) -> Path:
    """Return the history file that a path means; the path itself where there is none."""
    places = (path / HISTORY, path / "alpha_hill" / HISTORY)
    return next((place for place in places if place.is_file()), path / HISTORY if path.is_dir() else path)
