"""Tables for charts, and the words that a chart shows."""

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.layer_names import block_index

THREE = ("fp32", "fp16", "bf16")
NAMES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")


def make_row(name: str, precision: str = "fp32", alpha: float = 4.0, **changes: object) -> Row:
    row = Row(
        name, categorize(name), block_index(name), 256, 512, "bf16", "", precision, "ok", alpha=alpha, alpha_null=7.5,
        k_used=25, n_eigs=256, method="computed",
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def lost(row: Row, status: str = "non_finite", reason: str = "3 weights overflow") -> Row:
    return replace(row, status=status, reason=reason, alpha=math.nan, method="", k_used=0)


def names(blocks: int) -> list[str]:
    return [f"model.layers.{b}.{name}" for b in range(blocks) for name in NAMES] + ["lm_head"]


def computed(blocks: int = 3, precisions: Sequence[str] = THREE) -> Table:
    """Alphas that differ in the fourth digit."""
    rows = [
        make_row(name, p, 3.0 + 0.1 * i + 0.001 * j)
        for i, name in enumerate(names(blocks))
        for j, p in enumerate(precisions)
    ]
    return Table.from_rows(rows, tuple(precisions))


def shared(bound: float = 1.2e-9, blocks: int = 2) -> Table:
    """A bf16 checkpoint: fp32 and bf16 lossless, fp16 only bounded."""
    rows = [
        make_row(name, p, 3.0 + 0.1 * i, method=method, alpha_error_bound=error)
        for i, name in enumerate(names(blocks))
        for p, method, error in (("fp32", "lossless", 0.0), ("fp16", "bounded", bound), ("bf16", "lossless", 0.0))
    ]
    return Table.from_rows(rows, THREE)


def all_lost() -> Table:
    return Table.from_rows([lost(make_row(name, p), "failed") for name in names(2) for p in THREE], THREE)


def words(artist: Figure | Axes) -> list[str]:
    return [text.get_text() for text in artist.findobj(Text) if text.get_text() and text.get_visible()]
