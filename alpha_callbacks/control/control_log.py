"""Decisions of layer-wise control -> a CSV file and loggers."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha_callbacks.analysis.processes import training_ranks
from alpha_callbacks.control.layerwise_control import Decision
from alpha_callbacks.foreign_text import distinct
from alpha_callbacks.sinks.sink import Host, Sink, ValueSink, open_sinks
from alpha_callbacks.tables.csv_lines import csv_rows, csv_text
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.training.run_folder import RunFolder, claim
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.own_logger import own_logger

FILE = "layerwise_control.csv"
HEADER = ["step", "rule", "setting", "layer_name", "category", "alpha", "n_eigs", "value", "multiplier"]

_log = own_logger(__name__)


class ControlLog:
    """Writes what was decided, on the first rank; every rank makes one. An error becomes a warning.

    | key | meaning, unit | when |
    |---|---|---|
    | `alpha_control/<setting>_min` | smallest multiplier that was decided for; so `_mean`, `_max` | every decision |
    | `alpha_control/seconds` | wall time of the decision, s | every decision |
    | `alpha_control_<setting>/<layer>` | multiplier of one layer (TensorBoard, W&B) | `per_layer_scalars=True` |

    The file layerwise_control.csv has a row per decision and layer.

    Args:
        output_dir: folder for the file; locked, and another one where it is in use, as for `Monitor`.
        sinks: as for `Monitor`.
        offers: loggers or callbacks of the framework that sinks may write through.
        step_key: key under which the framework logs its step to W&B.
        per_layer_scalars: also log the multiplier of each layer.

    Raises:
        OptionError: the folder cannot be made, or a sink has nowhere to write.
        MissingExtraError: a sink that was asked for needs an optional package.
    """

    def __init__(
        self,
        output_dir: str | Path = "alpha_control",
        *,
        sinks: Any = "auto",
        offers: Sequence[Any] = (),
        step_key: str = "",
        per_layer_scalars: bool = True,
    ) -> None:
        self._folder: RunFolder | None = None
        self._sinks: list[Sink] = []
        self._last: int | None = None  # step of the last decision in the file; None: not looked yet
        self._per_layer, self._errors = per_layer_scalars, ErrorPolicy(strict=False)

        def prepare() -> None:
            if ranks.rank == 0:
                self._folder = claim(Path(output_dir))
                host = Host(self._folder.path, tuple(offers), step_key, per_layer_scalars, images=False)
                self._sinks = open_sinks(sinks, host)

        ranks = training_ranks()
        try:
            ranks.agree(prepare)
        except BaseException:
            self.close()
            raise
        finally:
            ranks.leave()

    def write(self, decision: Decision) -> None:
        """Write one decision."""
        if self._folder is None:
            return
        with self._errors:
            self._write_rows(self._folder.path / FILE, decision)
        values, layers = _values(decision), _layer_values(decision) if self._per_layer else {}
        for sink in self._sinks:
            if isinstance(sink, ValueSink):
                with self._errors:
                    sink.log_values(values, layers, decision.step)

    def close(self) -> None:
        """Flush the sinks and unlock the folder; may be called twice."""
        for sink in self._sinks:
            with self._errors:
                sink.close()
        if self._folder is not None:
            self._folder.release()
        self._folder, self._sinks = None, []

    def _write_rows(self, path: Path, decision: Decision) -> None:
        """Append the rows; rows of this step and later ones, which an earlier run has left, go to a file of their own.

        Rows that a kill has cut short are dropped with them.
        """
        rows = csv_text(_rows(decision))
        if self._last is not None and decision.step > self._last and path.is_file():
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(rows)
        else:
            write_text(path, csv_text([HEADER]) + csv_text(_earlier(path, decision.step)) + rows)
        self._last = decision.step


def _rows(decision: Decision) -> list[list[Any]]:
    rule = decision.rule
    return [
        [
            decision.step, rule.name, rule.sets, layer.name, layer.category, layer.alpha, layer.n_eigs,
            decision.values.get(layer.name, ""), decision.multipliers[layer.name],
        ]
        for layer in decision.layers
    ]  # fmt: skip


def _earlier(path: Path, step: int) -> list[list[str]]:
    """Return the rows of earlier steps; a file with other rows is kept aside."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    header, *rows = csv_rows(text[: text.rfind("\n") + 1]) or [[]]
    whole = [row for row in rows if header == HEADER and len(row) == len(HEADER) and row[0].isdecimal()]
    earlier = [row for row in whole if int(row[0]) < step]
    if len(earlier) < len(rows) or header != HEADER:
        aside = next(p for n in range(1, 10**6) if not (p := path.with_suffix(f".{n}.csv")).exists())
        path.replace(aside)
        _log.warning("alpha-Hill: %s had rows of step %d or later; the old file is kept as %s.", path, step, aside.name)
    return earlier


def _values(decision: Decision) -> dict[str, float]:
    setting, multipliers = decision.rule.sets, decision.multipliers.values()
    found = {"min": min(multipliers), "mean": statistics.fmean(multipliers), "max": max(multipliers)}
    return {
        **{f"alpha_control/{setting}_{name}": value for name, value in found.items()},
        "alpha_control/seconds": decision.seconds,
    }


def _layer_values(decision: Decision) -> dict[str, float]:
    """Return key -> multiplier; W&B sorts and filters names of letters, digits and underscores."""
    group, multipliers = f"alpha_control_{decision.rule.sets}", decision.multipliers
    keys = distinct(multipliers, lambda name: re.sub(r"[^A-Za-z0-9_]", "_", name))
    return {f"{group}/{keys[name]}": value for name, value in multipliers.items()}
