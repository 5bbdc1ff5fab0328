"""Rows of layers and precisions that have no alpha; every other row is one of these, filled in."""

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import Row, Status
from alpha_callbacks.weights.layer_names import block_index
from alpha_callbacks.weights.weight import Weight

REASONS: dict[Status, str] = {
    "degenerate": "all eigenvalues of the tail are equal to within the stored digits, or over 100 times closer "
    "together than those of noise",
    "rank_deficient": "the threshold eigenvalue is zero to within the stored digits",
}


def rows_without_alpha(weight: Weight, options: AnalysisOptions, status: Status, reason: str) -> tuple[Row, ...]:
    """Return the rows of a layer that has no alpha, with the reason."""
    return tuple(blank_row(weight, options, name, status, reason) for name in options.precisions)


def blank_row(weight: Weight, options: AnalysisOptions, precision: str, status: Status, reason: str) -> Row:
    """Return the row of one precision with what is known of the layer before it is measured."""
    return Row(
        layer_name=weight.layer_name,
        category=weight.category,
        block=block_index(weight.layer_name),
        out_features=weight.out_features,
        in_features=weight.in_features,
        stored_dtype=weight.stored_dtype,
        tied_to=weight.tied_to,
        modality=weight.modality,
        precision=precision,
        status=status,
        reason=reason,
        alpha_null=options.estimator.null(weight.out_features, weight.in_features),
        n_eigs=weight.n_eigs,
        threshold=options.threshold,
        effective_bits=get_precision(precision).effective_bits(weight.out_features, weight.in_features),
        source_name=weight.source_name,
    )


def beyond_rank(rank: int, k: int) -> str:
    """Return why the tail of a low-rank update has no alpha, and the options with which it has one."""
    found = f"an update of rank {rank}: the tail of {k} and its threshold reach beyond its non-zero eigenvalues"
    if rank < 3:
        return f"{found}, which are too few for a tail"
    return (
        f"{found}. With --k-min {rank - 1} --k-frac 1e-6 the tail is within them"  # a share so small that k_min decides
    )
