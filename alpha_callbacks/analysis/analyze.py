"""One weight -> its rows. Pure: callbacks, scans and charts all rest on this function."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from alpha_callbacks.analysis.answers import Answers
from alpha_callbacks.analysis.blank_rows import rows_without_alpha
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.analysis.matrix import Matrix
from alpha_callbacks.analysis.proofs import Proofs
from alpha_callbacks.analysis.quantization_error import measure_sizes
from alpha_callbacks.errors import SourceError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import dtype_of, get_precision
from alpha_callbacks.tables.table import Row, Status
from alpha_callbacks.weights.weight import Weight

_LARGEST_EXPONENT = 400  # |log2 max|w||; fp64 weights alone can be beyond it


@dataclass(frozen=True)
class Analysis:
    """The results for one weight.

    Attributes:
        rows: one per precision.
        spectra: precision -> eigenvalues, shape (n,), float64, descending; precisions that share a decomposition share
            the tensor. Precisions without one are left out.
    """

    rows: tuple[Row, ...]
    spectra: Mapping[str, Tensor] = field(default_factory=dict)


def analyze_weight(weight: Weight, options: AnalysisOptions, earlier: EarlierStates | None = None) -> tuple[Row, ...]:
    """Return one row per precision, in the order asked.

    The stored matrix is decomposed at most once, and shared with every precision that returns the same bits or moves
    alpha by less than `options.reuse_tol` of itself (proved, see `perturbation`). Where its eigenvectors prove alpha
    of a further precision to that tolerance, and cost less than a decomposition, they do (`certified`). A layer that
    cannot be analysed yields rows with a status and a reason.

    Args:
        weight: from any source.
        options: what to compute.
        earlier: of a run, what its states leave to one another. Where the vectors of one prove alpha of the stored
            matrix to `options.reuse_tol`, it is not decomposed either, and its solver is `ritz_fp64_earlier`.
    """
    return _guarded(weight, options, prove=True, earlier=earlier).rows


def analyze_with_spectra(weight: Weight, options: AnalysisOptions, *, of_each: bool = True) -> Analysis:
    """Return rows and the eigenvalues that they were made from.

    Args:
        weight: from any source.
        options: what to compute.
        of_each: decompose every precision that does not share the decomposition of the stored matrix, since what is
            proved of one has no eigenvalues to return. False: prove what can be proved, as `analyze_weight` does.

    Raises:
        SourceError: the weights can be read no further; a row would say of this layer what is true of none.
    """
    return _guarded(weight, options, prove=not of_each)


def _guarded(
    weight: Weight, options: AnalysisOptions, *, prove: bool, earlier: EarlierStates | None = None
) -> Analysis:
    try:
        return _analyze(weight, options, prove=prove, earlier=earlier)
    except SourceError:
        raise
    except Exception as error:  # the other layers go on; the row keeps what happened
        return _nothing(weight, options, "failed", f"{type(error).__name__}: {error}")


def _analyze(weight: Weight, options: AnalysisOptions, *, prove: bool, earlier: EarlierStates | None) -> Analysis:
    if weight.unsupported:
        return _nothing(weight, options, "unsupported", weight.unsupported)
    if weight.n_eigs < 2:
        return _nothing(weight, options, "too_small", "fewer than 2 eigenvalues, so no tail and threshold")
    weight = weight.on(options.device)
    if options.load_dtype is not None:
        weight = weight.cast(dtype_of(options.load_dtype))
    weight = weight.held()
    sizes = measure_sizes(weight)
    if not math.isfinite(sizes.largest):
        return _nothing(weight, options, "non_finite", "the stored weight holds nan or inf")
    if sizes.largest and abs(math.log2(sizes.largest)) > _LARGEST_EXPONENT:
        reason = f"entries of size {sizes.largest:.1g}, whose squares leave the range of fp64. Rescale the weight"
        return _nothing(weight, options, "failed", reason)
    if sizes.largest == 0 and weight.is_update:
        reason = "unchanged from the base: every entry of the update is zero"
        rows = rows_without_alpha(weight, options, "unchanged", reason)
        return Analysis(tuple(replace(row, relative_size=0.0) for row in rows))
    if sizes.largest == 0:
        return _nothing(weight, options, "degenerate", "every weight is zero")
    matrix = Matrix(weight, sizes, options)
    layer = earlier.of(weight) if earlier is not None else None
    if layer is not None:
        layer.see(weight)
    answers = Answers(matrix, Proofs(matrix, allowed=prove, layer=layer))
    found = [answers.of(get_precision(name)) for name in options.precisions]
    spectra = {a.row.precision: a.solved.spectrum.evals for a in found if a.solved is not None}
    return Analysis(tuple(answer.row for answer in found), spectra)


def _nothing(weight: Weight, options: AnalysisOptions, status: Status, reason: str) -> Analysis:
    return Analysis(rows_without_alpha(weight, options, status, reason))
