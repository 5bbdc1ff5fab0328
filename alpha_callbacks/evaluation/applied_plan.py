"""Plans tried on a live model: weights through the round trip of their formats in place, and back, bit for bit."""

from types import TracebackType

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.writable_weights import Target, targets
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.weight import spans


class Applied:
    """A model whose weights follow one plan after the other; on leaving, they are again what they were.

    The originals of the layers that were changed are kept meanwhile, in half the memory where bf16 holds them exactly.
    A weight that several modules share changes for all of them, but a language head that is the embedding too stays as
    found. Values go back into the dtype of the model: load it in fp32 to see the formats themselves.

    Examples:
        >>> from alpha_callbacks.planning.plan import Choice, Plan
        >>> model = nn.Sequential(nn.Linear(64, 8))
        >>> with Applied(model, Plan((Choice("0", "other", 8, 64, "int4"),))) as applied:
        ...     applied.use(None)
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        """Find the layers of a plan in the model and apply nothing yet.

        Args:
            model: whose weights change within the context.
            plan: names the layers; later ones have the same.

        Raises:
            PlanError: the model lacks a layer, or has one of another shape.
        """
        self._targets = targets(model, plan.choices)
        self._originals: dict[int, Tensor] = {}
        self._precisions = [""] * len(self._targets)  # "": as found

    def __enter__(self) -> "Applied":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.use(None)
        except KeyboardInterrupt:  # pressed once more: the model must not be left halfway
            self.use(None)
            raise

    @torch.no_grad()
    def use(self, plan: Plan | None) -> None:
        """Bring the weights into the formats of a plan (None: as found); layers that have them already are left alone.

        Raises:
            PlanError: parts of one fused matrix have different precisions, one that is tied to the embedding has a
                low-bit one, or weights are nan or inf.
        """
        precisions = dict[str, str]()
        if plan is not None:
            plan.modules()  # refuses parts that differ
            precisions = {choice.layer_name: choice.precision for choice in plan.choices}
        for i, target in enumerate(self._targets):
            wanted = precisions.get(target.layers[0].layer_name, "")
            if target.tied and wanted:
                _refuse_low_bit(target, wanted)
                wanted = ""
            if wanted == self._precisions[i]:
                continue
            self._precisions[i] = "?"  # interrupted in between, it is neither
            if wanted:
                self._write(i, target, get_precision(wanted))
            elif i in self._originals:
                target.matrix.copy_(self._originals[i])
                del self._originals[i]
            self._precisions[i] = wanted

    def _write(self, i: int, target: Target, precision: Precision) -> None:
        matrix = target.matrix
        if i not in self._originals:
            if precision.holds(matrix.dtype):
                return
            self._originals[i] = _copy(matrix)
        original = self._originals[i]
        if not torch.isfinite(original).all():
            raise PlanError(
                f"{target.layers[0].layer_name}: expected finite weights, got nan or inf. The checkpoint is damaged."
            )
        if precision.holds(matrix.dtype):
            matrix.copy_(original)
            return
        largest = float(original.abs().max())
        for start, stop in _blocks(matrix, precision.row_multiple):
            matrix[start:stop] = precision.round_trip(original[start:stop].to(matrix.dtype), largest)


def _refuse_low_bit(target: Target, precision: str) -> None:
    if get_precision(precision).low_bit:
        raise PlanError(
            f"{target.layers[0].layer_name}: expected 16 bits for what shares its storage with the embedding, "
            f"got {precision}. Keep it at bf16."
        )


def _copy(matrix: Tensor) -> Tensor:
    half = matrix.to(torch.bfloat16, copy=True)
    return half if torch.equal(half.to(matrix.dtype), matrix) else matrix.clone()


def _blocks(matrix: Tensor, row_multiple: int) -> list[tuple[int, int]]:
    """Return (start, stop) of blocks of rows, each start at a multiple of `row_multiple`."""
    rows = matrix.shape[0]
    step = next(spans(rows, matrix.shape[1]))[1]
    step = -(-step // row_multiple) * row_multiple
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
