"""A table under the column names of WeightWatcher, for those who come from there."""

import math
from typing import TYPE_CHECKING, Any

from alpha_callbacks.errors import OptionError
from alpha_callbacks.tables.table import Row

if TYPE_CHECKING:
    from alpha_callbacks.tables.table import Table

# Of the fit of Clauset, Shalizi and Newman; no alpha-Hill is judged by them.
OVER_TRAINED, UNDER_TRAINED = 2.0, 6.0


def weightwatcher_rows(table: "Table") -> list[dict[str, Any]]:
    """Return one dictionary per layer, at the reference precision, under WeightWatcher's names.

    `alpha`, `D`, `xmin`, `xmax`, `sigma`, `num_pl_spikes` and `warning` are of the estimator csn; Hill's alpha is
    `alpha_hill`. Measures that were not asked for have no column.

    Raises:
        OptionError: the estimator csn was not asked for, so that there is no alpha of WeightWatcher's kind.
    """
    rows = [layer[table.reference] for layer in table.layers]
    if not any(fit.estimator == "csn" for row in rows for fit in row.estimates):
        raise OptionError(
            'style: expected rows with the estimator csn for "weightwatcher", found none. Scan with --estimator csn '
            '--measures norms,bulk (in Python AnalysisOptions(estimators=("csn",), measures=("norms", "bulk"))).'
        )
    return [_columns(number, row) for number, row in enumerate(rows)]


def _columns(number: int, row: Row) -> dict[str, Any]:
    fit = next((fit for fit in row.estimates if fit.estimator == "csn"), None)
    alpha = fit.alpha if fit else math.nan
    small, large = sorted((row.out_features, row.in_features))
    top = row.spectral_norm**2
    found: dict[str, Any] = {"layer_id": number, "name": row.layer_name.rpartition(".")[2], "longname": row.layer_name}
    found |= {"N": large, "M": small, "Q": large / small, "num_evals": row.n_eigs}
    found |= {"alpha": alpha, "D": fit.ks_distance if fit else math.nan, "xmin": fit.x_min if fit else math.nan}
    found |= {"xmax": top, "sigma": fit.stderr if fit else math.nan, "num_pl_spikes": fit.n_tail if fit else 0}
    found |= {"alpha_low": fit.low if fit else math.nan, "alpha_high": fit.high if fit else math.nan}
    found |= {"alpha_hill": row.alpha, "tail": row.tail, "stable_rank": row.stable_rank, "lambda_max": top}
    found |= {"spectral_norm": top, "sv_max": row.spectral_norm, "status": "success" if fit and row.ok else "failed"}
    warning = "over-trained" if alpha < OVER_TRAINED else "under-trained" if alpha > UNDER_TRAINED else ""
    return {**found, "warning": warning, **row.measures}
