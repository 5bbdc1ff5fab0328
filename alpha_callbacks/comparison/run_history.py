"""The measured states of a training run: their tables, and values of every layer over the steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alpha_callbacks.comparison.history_series import Series
from alpha_callbacks.errors import OptionError
from alpha_callbacks.tables.history_columns import OTHERS
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.layer_names import module_order
from alpha_callbacks.weights.modalities import group_of

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunHistory:
    """All measured states of a training run.

    Attributes:
        frame: the rows of the file, the last one of each step, layer and precision, by step.
        path: the file.
    """

    frame: "pandas.DataFrame"
    path: Path

    @lazy_property
    def steps(self) -> tuple[int, ...]:
        """The measured steps, ascending."""
        return tuple(int(step) for step in self._starts[0])

    @lazy_property
    def precisions(self) -> tuple[str, ...]:
        """Every precision of the run, in the order of the file."""
        return tuple(str(name) for name in self.frame["precision"].unique())

    @lazy_property
    def reference(self) -> str:
        """The finest precision."""
        return Table((), self.precisions).reference

    @lazy_property
    def estimators(self) -> tuple[str, ...]:
        """The other estimators whose fits the file holds."""
        return tuple(name for name in OTHERS if self.frame[f"{name}_alpha"].notna().any())

    @lazy_property
    def layers(self) -> tuple[str, ...]:
        """Every layer of the run: in the order of the file, in module order if the set of layers has changed."""
        names = tuple(str(name) for name in self.frame["layer_name"].unique())
        return names if len(self._rows(self.steps[0])["layer_name"].unique()) == len(names) else tuple(
            sorted(names, key=module_order)
        )  # fmt: skip

    def table(self, step: int) -> Table:
        """Return the table of one step; its rows have what the file holds.

        The file has no shapes (0 x 0 here), no threshold ("") and no solver (""); `folder` names those that do.

        Raises:
            OptionError: no such step.
        """
        rows = self._rows(self._checked(step))
        names = tuple(dict.fromkeys(rows["precision"].astype(str)))
        return Table.from_rows((_row(record) for record in rows.to_dict("records")), names)

    def folder(self, step: int) -> Path:
        """Return where the callback writes the whole results of a step; it need not exist."""
        return self.path.parent / f"step_{step:08d}"

    def series(self, precision: str | None = None, value: str = "alpha") -> Series:
        """Return one value of every layer over the steps.

        Args:
            precision: whose; None: the reference.
            value: "alpha", "alpha_ratio", or that of another estimator: "csn_alpha", "csn_low", ...

        Raises:
            OptionError: the run has no such precision.
        """
        precision = precision or self.reference
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise OptionError(f"precision: expected one of {known} for {self.path}, got {precision!r}.")
        rows = self.frame[(self.frame["precision"] == precision)]
        at_layer, at_step = ({name: i for i, name in enumerate(names)} for names in (self.layers, self.steps))
        values = np.full((len(self.layers), len(self.steps)), math.nan)
        places = rows["layer_name"].astype(str).map(at_layer), rows["step"].map(at_step)
        found = np.where(rows["status"] == "ok", rows[value], math.nan)
        values[tuple(np.asarray(place, dtype=np.int64) for place in places)] = found
        first = self.frame.drop_duplicates("layer_name").set_index(
            self.frame.drop_duplicates("layer_name")["layer_name"].astype(str)
        )
        kinds = tuple(
            group_of(str(first.at[name, "category"]), str(first.at[name, "modality"])) for name in self.layers
        )
        blocks = tuple(_block(first.at[name, "block"]) for name in self.layers)
        return Series(self.layers, kinds, blocks, self.steps, values)

    @lazy_property
    def changed_tail(self) -> str:
        """A layer whose tail size changed during the run (other options after a resume), or ""."""
        ok = self.frame[(self.frame["status"] == "ok") & (self.frame["k_used"] > 0)]
        sizes = ok.groupby("layer_name", observed=True, sort=False)["k_used"].nunique()
        return str(sizes[sizes > 1].index[0]) if (sizes > 1).any() else ""

    @lazy_property
    def tails(self) -> dict[str, tuple[int, int]]:
        """Layer -> (tail size, number of eigenvalues), from its first row with an alpha."""
        ok = self.frame[(self.frame["status"] == "ok") & (self.frame["k_used"] > 0)].drop_duplicates("layer_name")
        return {
            str(name): (int(k), int(n)) for name, k, n in zip(ok["layer_name"], ok["k_used"], ok["n_eigs"], strict=True)
        }

    @lazy_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self.frame["step"].to_numpy(), return_index=True)

    def _rows(self, step: int) -> "pandas.DataFrame":
        steps, starts = self._starts
        at = int(np.searchsorted(steps, step))
        return self.frame.iloc[starts[at] : starts[at + 1] if at + 1 < len(starts) else None]

    def _checked(self, step: int) -> int:
        if step not in self.steps:
            raise OptionError(f"{self.path}: expected a measured step ({some(self.steps)}), got {step}.")
        return step


def some(steps: Sequence[int]) -> str:
    """Return a few steps as text.

    Examples:
        >>> some([0, 10, 20]), some(range(0, 5000, 10))
        ('0, 10, 20', '0, 10, 20, …, 4990')
    """
    shown = [str(step) for step in steps]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", shown[-1]])


def _row(record: dict[Any, Any]) -> Row:
    ratio, norm, rank = (float(record[name]) for name in ("alpha_ratio", "spectral_norm", "stable_rank"))
    return Row(
        block=_block(record["block"]),
        out_features=0,
        in_features=0,
        tied_to="",
        threshold="",
        alpha_null=record["alpha"] / ratio if ratio else math.nan,
        frobenius_norm=norm * math.sqrt(rank) if rank >= 0 else math.nan,
        **{
            name: record[name]
            for name in ("layer_name", "category", "modality", "precision", "status", "method", "stored_dtype")
        },
        **{name: record[name] for name in ("tail", "tail_reason")},
        **{name: record[name] for name in ("reason", "alpha", "alpha_error_bound", "stderr", "ks_distance")},
        relative_size=record["relative_size"],
        spectral_norm=norm,
        k_used=record["k_used"],
        n_eigs=record["n_eigs"],
    )


def _block(value: float) -> int | None:
    return None if math.isnan(value) else int(value)
