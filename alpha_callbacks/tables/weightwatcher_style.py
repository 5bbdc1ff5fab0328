"""Rows under the column names of WeightWatcher, for those who come from there."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alpha_callbacks.errors import OptionError

# Of the fit of Clauset, Shalizi and Newman; no alpha-Hill is judged by them.
OVER_TRAINED, UNDER_TRAINED = 2.0, 6.0


def weightwatcher_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows under WeightWatcher's names, from those of `Table.to_frame`, one per layer.

    `alpha`, `D`, `xmin`, `xmax`, `sigma`, `num_pl_spikes` and `warning` are of the estimator csn; Hill's alpha is
    `alpha_hill`. Measures that were not asked for have no column.

    Raises:
        OptionError: the estimator csn was not asked for, so that there is no alpha of WeightWatcher's kind.
    """
    if not any("csn_alpha" in row for row in rows):
        raise OptionError(
            'style: expected rows with the estimator csn for "weightwatcher", found none. Scan with --estimator csn '
            '--measures norms,bulk (in Python AnalysisOptions(estimators=("csn",), measures=("norms", "bulk"))).'
        )
    return [_columns(number, row) for number, row in enumerate(rows)]


def _columns(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    csn = {
        name: row.get(f"csn_{name}", math.nan) for name in ("alpha", "ks_distance", "x_min", "stderr", "low", "high")
    }
    alpha, top = csn["alpha"], row["spectral_norm"] ** 2
    small, large = sorted((row["out_features"], row["in_features"]))
    fitted = not math.isnan(alpha)
    return {
        "layer_id": number,
        "name": row["layer_name"].rpartition(".")[2],
        "longname": row["layer_name"],
        "N": large,
        "M": small,
        "Q": large / small,
        "num_evals": row["n_eigs"],
        "alpha": alpha,
        "D": csn["ks_distance"],
        "xmin": csn["x_min"],
        "xmax": top,
        "sigma": csn["stderr"],
        "num_pl_spikes": row.get("csn_n_tail", 0),
        "alpha_low": csn["low"],
        "alpha_high": csn["high"],
        "alpha_hill": row["alpha"],
        "tail": row["tail"],
        "stable_rank": row["stable_rank"],
        "lambda_max": top,
        "spectral_norm": top,
        "sv_max": row["spectral_norm"],
        "status": "success" if fitted else "failed",
        "warning": "over-trained" if alpha < OVER_TRAINED else "under-trained" if alpha > UNDER_TRAINED else "",
        **row["measures"],
    }
