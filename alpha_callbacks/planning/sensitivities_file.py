"""Sensitivities of layers as a file: what training leaves behind, and `recommend --sensitivities` reads."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from alpha_callbacks.errors import PlanError
from alpha_callbacks.tables.checked_files import read_csv_lines
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.weights.canonical_names import pairing_key

_log = own_logger(__name__)

SENSITIVITIES = "sensitivities.csv"
_COLUMNS = ("layer_name", "sensitivity")
_LEAST = 1e-100
_REMEDY = "Train with sensitivities=True again, or give --sensitivity fisher and a text."


def write_sensitivities(found: Mapping[str, float], folder: Path) -> Path:
    """Write sensitivities.csv and return its path."""
    rows = [[name, f"{value:.8g}"] for name, value in found.items()]
    write_text(folder / SENSITIVITIES, csv_text([list(_COLUMNS), *rows]))
    return folder / SENSITIVITIES


def read_sensitivities(path: str | Path, layers: Iterable[str]) -> dict[str, float]:
    """Return layer name -> sensitivity, for those of some layers that the file has under any name.

    Args:
        path: sensitivities.csv, or the folder that it is in.
        layers: names in a scan of the trained model.

    Raises:
        PlanError: no such file, or none of these layers in it.
        ResultsError: it is damaged.
    """
    path = Path(path)
    path = path / SENSITIVITIES if path.is_dir() else path
    lines = read_csv_lines(path, required=_COLUMNS, remedy=_REMEDY)
    if lines is None:
        raise PlanError(f"{path}: expected the sensitivities of a training run, found nothing there. {_REMEDY}")
    own = {line["layer_name"]: _number(path, line) for line in lines}
    if len(own) < len(lines):
        raise PlanError(f"{path}: expected each layer once, got {len(lines)} lines of {len(own)} layers. {_REMEDY}")
    by_key: dict[str, list[str]] = {}
    for name in own:
        by_key.setdefault(pairing_key(name), []).append(name)
    found, used = dict[str, float](), set[str]()
    for layer in layers:
        names = [layer] if layer in own else by_key.get(pairing_key(layer), [])
        if len(names) == 1:  # a name that two layers have tells nothing
            found[layer] = own[names[0]]
            used.update(names)
    if not found:
        raise PlanError(
            f"{path}: expected layers of the scan, got none of its {len(own)}. Scan the model that was trained."
        )
    if not any(found.values()):
        raise PlanError(f"{path}: expected a sensitivity above 0, got 0 for all {len(found)} layers. {_REMEDY}")
    if surplus := [name for name in own if name not in used]:
        _log.warning(
            "%s: %d of its %d layers count for nothing: the scan lacks them, or names of two are one (%s%s).",
            path, len(surplus), len(own), ", ".join(surplus[:3]), ", ..." if len(surplus) > 3 else "",
        )  # fmt: skip
    return found


def _number(path: Path, line: Mapping[str, str]) -> float:
    try:
        value = float(line["sensitivity"])
    except ValueError:
        value = math.nan
    if value != 0 and not _LEAST <= value <= 1 / _LEAST:  # products with errors have to be numbers too
        raise PlanError(
            f"{path}, {line['layer_name']}: expected a sensitivity, 0 or {_LEAST:g} to {1 / _LEAST:g}, got "
            f"{line['sensitivity']!r}. {_REMEDY}"
        )
    return value
