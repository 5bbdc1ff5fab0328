"""What one state of a layer leaves to the next: a few entries, and where that pays a matrix with its top vectors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alpha_callbacks.analysis.certificate_costs import most_columns, sides_of
from alpha_callbacks.estimators.estimator import Estimator
from alpha_callbacks.solvers.perturbation import StripMeter
from alpha_callbacks.solvers.top_space import TopSpace
from alpha_callbacks.weights.weight import Weight

_SAMPLES = 2**12  # entries of each block that a drift is estimated from
_LARGEST_EXPONENT = 100  # |log2 max|w||: the copy in half precision, scaled back, is exact in fp32


@dataclass(frozen=True)
class Reference:
    """A matrix whose top vectors are at hand; what they prove of another rests on the difference of the two.

    Attributes:
        copy: shape (out_features, in_features), float16: the matrix is this times 2^exponent, the state rounded to it.
        exponent: see above.
        top: vectors of the state; `beyond` holds for the matrix.
        evals: shape (n,), float64, descending: of the state; for predictions.
        sample: entries of the state.
        precisions: names of those that were proved from the vectors beside the state itself.
    """

    copy: Tensor
    exponent: int
    top: TopSpace
    evals: Tensor
    sample: Tensor
    precisions: frozenset[str]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix and its vectors."""
        return self.copy.nbytes + self.top.vectors.nbytes

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Return rows of the matrix in float32 or float64."""
        return self.copy[start:stop].to(dtype).mul_(2.0**self.exponent)


class Layer:
    """The last states of one layer.

    Attributes:
        drift: about ||W - W'||_F between its last two states; None before the second, and in a pause.
        relative_drift: the same as a share of ||W||_F.
        too_far: a drift from which on no later state was found to be provable; vectors are made when it has fallen.
        reference: what a later state may be proved from.
    """

    def __init__(self) -> None:
        self.drift: float | None = None
        self.relative_drift = self.too_far = math.inf
        self.reference: Reference | None = None
        self._sample: Tensor | None = None
        self._entries = 0
        self._failures = self._pause = 0

    def see(self, weight: Weight) -> None:
        """Take some entries of a new state, finite ones, and compare them with those of the last."""
        sample, before = _sample(weight), self._sample
        self._sample, self._entries = sample, weight.numel
        if before is None or before.shape != sample.shape:
            self.drift, self.reference = None, None
        else:
            self.drift = self._distance(before)
            self.relative_drift = self.drift / max(self._distance(torch.zeros_like(before)), 1e-300)
        if self._pause:
            self.drift, self._pause = None, self._pause - 1
        if self.reference is not None and self.reference.copy.shape != (weight.out_features, weight.in_features):
            self.reference = None

    def judge(self, *, proved: bool) -> None:
        """Note whether a proof that was expected to succeed did; after each failure in a row, pause twice as long.

        A few entries may say nothing of the change that matters.
        """
        self._failures = 0 if proved else min(self._failures + 1, 6)
        if not proved:
            self.drift, self._pause = None, 2**self._failures - 1

    def since_reference(self) -> float:
        """Return about ||W - W'||_F between the newest state and that of the reference."""
        assert self.reference is not None
        return self._distance(self.reference.sample)

    def keep(self, weight: Weight, largest: float, top: TopSpace, evals: Tensor, precisions: frozenset[str]) -> None:
        """Make the newest state the reference."""
        exponent = math.frexp(largest)[1]
        if self._sample is None or abs(exponent) > _LARGEST_EXPONENT:
            return
        copy = torch.empty(weight.out_features, weight.in_features, dtype=torch.float16)
        wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
        strips, start = StripMeter(weight.in_features, largest), 0
        with torch.inference_mode(False), torch.no_grad():
            for block in weight.row_blocks():
                rows, kept = block.to(wide), copy[start : start + len(block)]
                kept.copy_(rows * 2.0**-exponent)
                strips.add(rows - kept.to(wide).mul_(2.0**exponent))
                start += len(block)
        beyond = (math.sqrt(top.beyond) + strips.bound()) ** 2 * (1 + 1e-12)
        self.reference = Reference(copy, exponent, replace(top, beyond=beyond), evals, self._sample, precisions)

    def _distance(self, before: Tensor) -> float:
        assert self._sample is not None
        return float(torch.linalg.vector_norm(self._sample - before)) * math.sqrt(self._entries / len(before))


class EarlierStates:
    """The layers of a run, by name. Their references take at most so many bytes."""

    def __init__(self, limit: int) -> None:
        """Begin with none.

        Args:
            limit: bytes.
        """
        self._limit = limit
        self._layers: dict[str, Layer] = {}

    def admit(self, weights: Sequence[Weight], estimator: Estimator, *, free: float = math.inf) -> None:
        """Divide the memory among these layers, in their order; called before they are analysed.

        What each may take follows from its shape, so the choice does not depend on which thread comes first.

        Args:
            weights: the layers.
            estimator: what fits the tail.
            free: bytes that may be taken beyond what is held now.
        """
        names = {weight.layer_name for weight in weights}
        others = {name: layer for name, layer in self._layers.items() if name not in names}
        left = min(self._limit, _held(self._layers) + free) - _held(others)
        admitted = dict[str, Layer]()
        for weight in weights:
            if weight.unsupported or weight.is_update or weight.n_eigs < 2:
                continue
            leading, sides = estimator.leading(weight.n_eigs), sides_of(weight)
            needed = 2 * weight.numel + 8 * weight.n_eigs * most_columns(leading, weight.n_eigs)
            if leading and needed <= left and sides.cheaper(leading) and not sides.waits:
                left -= needed
                admitted[weight.layer_name] = self._layers.get(weight.layer_name) or Layer()
        self._layers = others | admitted

    def of(self, weight: Weight) -> Layer | None:
        """Return what is known of a layer; None where there is no memory for it, or no gain."""
        return self._layers.get(weight.layer_name)


def _held(layers: Mapping[str, Layer]) -> int:
    return sum(layer.reference.nbytes for layer in layers.values() if layer.reference)


def _sample(weight: Weight) -> Tensor:
    parts = []
    for block in weight.row_blocks():
        flat = block.reshape(-1)
        parts.append(flat[:: max(1, len(flat) // _SAMPLES) | 1].double())  # odd: not always the same column
    return torch.cat(parts)
