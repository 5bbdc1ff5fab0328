"""What lies in a results folder beside the table: coverage, the record of the run, a recommendation."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpha_callbacks.planning.recommendation_files import PLAN, RECOMMENDATIONS
from alpha_callbacks.tables.results_csv import COVERAGE

_SHOWN = 200  # names of one group; all are in the file


@dataclass(frozen=True)
class Group:
    """Tensors with the same outcome for the same reason."""

    outcome: str
    reason: str
    names: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """Those that the page lists."""
        return self.names[:_SHOWN]


@dataclass(frozen=True)
class Coverage:
    """What became of every tensor: counts by outcome, and those that were not analysed by reason."""

    counts: dict[str, int]
    groups: tuple[Group, ...]


def read_coverage(directory: Path) -> Coverage | None:
    """Return the coverage of a scan, None where there is no such file."""
    lines = _lines(directory / COVERAGE)
    if not lines:
        return None
    grouped: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.get("outcome") != "analysed" or line.get("reason"):
            shape = f" ({line.get('shape')})" if line.get("shape") else ""
            grouped.setdefault((line.get("outcome", ""), line.get("reason", "")), []).append(
                f"{line.get('name')}{shape}"
            )
    groups = sorted((Group(*key, tuple(names)) for key, names in grouped.items()), key=lambda group: -len(group.names))
    return Coverage(dict(Counter(line.get("outcome", "") for line in lines)), tuple(groups))


def read_run(directory: Path) -> dict[str, Any]:
    """Return run.json, {} where there is none that can be read."""
    return _object(directory / "run.json")


@dataclass(frozen=True)
class Advice:
    """A recommendation as it lies in the folder.

    Attributes:
        policy: what decided.
        settings: its options.
        lines: rows of recommendations.csv.
        counts: precision -> (layers, weights).
    """

    policy: str
    settings: dict[str, Any]
    lines: tuple[dict[str, str], ...]
    counts: dict[str, tuple[int, int]]


def read_advice(directory: Path) -> Advice | None:
    """Return the recommendation in the folder, None where there is none."""
    lines = _lines(directory / RECOMMENDATIONS)
    if not lines or not {"layer_name", "precision", "reason"} <= lines[0].keys():
        return None
    plan = _object(directory / PLAN)
    counts: dict[str, tuple[int, int]] = {}
    for line in lines:
        layers, weights = counts.get(line["precision"], (0, 0))
        counts[line["precision"]] = (
            layers + 1,
            weights + _whole(line.get("out_features")) * _whole(line.get("in_features")),
        )
    settings = plan.get("settings")
    return Advice(str(plan.get("policy", "")), settings if isinstance(settings, dict) else {}, tuple(lines), counts)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: value or "" for key, value in line.items() if key} for line in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
