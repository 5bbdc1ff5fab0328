"""How far the weights of one checkpoint are from those of another: the error of a quantized one, as it shipped."""

import math
from dataclasses import replace

from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.layer_names import REORDERED_IN_GGUF
from alpha_callbacks.weights.weight import Weight, spans

_ROWS = 128


def with_weight_errors(comparison: Comparison, a: Checkpoint, b: Checkpoint) -> Comparison:
    """Return the comparison with the relative error of every pair whose matrices can be read on both sides.

    Both matrices are read in blocks of rows, decoded where they are quantized; memory is that of two blocks.

    Args:
        comparison: of tables of these checkpoints.
        a: the checkpoint of A, which the error is relative to.
        b: the checkpoint of B.
    """
    ours, theirs = (_weights(checkpoint) for checkpoint in (a, b))
    reordered = REORDERED_IN_GGUF if _is_gguf(a) != _is_gguf(b) else ()
    return replace(comparison, pairs=tuple(_measured(pair, ours, theirs, reordered) for pair in comparison.pairs))


def relative_error(a: Weight, b: Weight) -> float:
    """Return ‖B − A‖_F / ‖A‖_F, accumulated in float64; inf where A is zero and B is not.

    Args:
        a: the reference.
        b: of the same shape.
    """
    squares, reference = 0.0, 0.0
    for start, stop in spans(a.out_features, a.in_features, multiple=_ROWS):
        before, after = a.rows(start, stop).double(), b.rows(start, stop).double()
        reference += _square(before)
        squares += _square(after.to(before.device) - before)
    if reference == 0:
        return math.inf if squares else 0.0
    return math.sqrt(squares / reference)


def _weights(checkpoint: Checkpoint) -> dict[str, Weight]:
    inventory = checkpoint.inventory(AnalysisOptions(include_embeddings=True))
    return {weight.layer_name: weight for weight in inventory.weights if not weight.unsupported}


def _is_gguf(checkpoint: Checkpoint) -> bool:
    return all(file.suffix.lower() == ".gguf" for file in checkpoint.files)


def _measured(pair: Pair, ours: dict[str, Weight], theirs: dict[str, Weight], reordered: tuple[str, ...]) -> Pair:
    a = ours.get(pair.a.layer_name) if pair.a else None
    b = theirs.get(pair.b.layer_name) if pair.b else None
    if a is None or b is None or (a.out_features, a.in_features) != (b.out_features, b.in_features):
        return pair
    return pair if a.category in reordered else replace(pair, relative_error=relative_error(a, b))


def _square(values: Tensor) -> float:
    return float(values.flatten().dot(values.flatten()))
