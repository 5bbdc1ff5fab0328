"""The losses of a training run, where its framework has written them beside the history of its alphas."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.utils.regular_files import read_regular, reason_of
from alpha_callbacks.utils.whole_numbers import is_index

_log = own_logger(__name__)

Losses = dict[str, list[tuple[int, float]]]  # name -> (step, loss), by step

_STATE, _METRICS = "trainer_state.json", "metrics.csv"
_MOST = 64  # characters of a column that is taken for a loss


def read_losses(folder: Path) -> Losses:
    """Return the losses that belong to the history in this folder.

    They are read from what Hugging Face's Trainer writes with its checkpoints (trainer_state.json, the one that goes
    farthest) and from Lightning's CSVLogger (metrics.csv), in this folder or the one above it.

    Returns:
        "loss", "eval_loss", "train_loss", ...; empty where there is no such file. One that cannot be read costs a
        warning, as the page is about alphas.
    """
    for place in (folder, folder.parent):
        states = sorted(place.glob(f"checkpoint-*/{_STATE}"), key=_step_of)
        for file, read in ((place / _STATE, _of_trainer), *((file, _of_trainer) for file in states[-1:]),
                           (place / _METRICS, _of_csv)):  # fmt: skip
            if not file.is_file():
                continue
            try:
                found = _by_name(read(file))
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                _log.warning("alpha-Hill: no loss beside alpha: %s: %s.", file, reason_of(error))
                continue
            if found:
                return found
    return {}


def _step_of(file: Path) -> int:
    number = file.parent.name.rpartition("-")[2]
    return int(number) if is_index(number) else -1


def _of_trainer(file: Path) -> Iterator[tuple[str, Any, Any]]:
    for entry in json.loads(read_regular(file))["log_history"]:
        for name, value in entry.items():
            if _is_loss(name):
                yield name, entry["step"], value


def _of_csv(file: Path) -> Iterator[tuple[str, Any, Any]]:
    import csv

    for entry in csv.DictReader(read_regular(file).decode("utf-8").splitlines()):
        for name, value in entry.items():
            if value and _is_loss(name) and entry.get("step"):
                yield name, entry["step"], value


def _is_loss(name: object) -> bool:
    """Return whether a value is a loss of a step: not Trainer's mean over the run."""
    return isinstance(name, str) and "loss" in name.lower() and len(name) <= _MOST


def _by_name(values: Iterator[tuple[str, Any, Any]]) -> Losses:
    found: dict[str, dict[int, float]] = {}
    for name, step, value in values:
        if math.isfinite(loss := float(value)):
            found.setdefault(name, {})[int(step)] = loss
    return {name: sorted(points.items()) for name, points in found.items() if len(points) > 1}
