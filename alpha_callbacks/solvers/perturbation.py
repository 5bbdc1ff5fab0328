"""Norms of a change E of the entries, from one pass: what decides how far eigenvalues can move."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_NORM_GUARD = 1 + 1e-6  # the norms of E are computed in floating point; this covers their rounding many times over


@dataclass(frozen=True)
class Perturbation:
    """Norms of E = W - Q(W), from one pass over the rows.

    Attributes:
        frobenius: ||E||_F.
        spectral: an upper bound of ||E||_2, min(||E||_F, sqrt(||E||_1 ||E||_inf)).
    """

    frobenius: float
    spectral: float


class PerturbationMeter:
    """Accumulates the norms of E block by block."""

    def __init__(self, in_features: int) -> None:
        self._squares = 0.0
        self._row_max = 0.0
        self._columns = torch.zeros(in_features, dtype=torch.float64)

    def add(self, error: Tensor) -> None:
        """Add rows of E, shape (r, in_features), float32 or float64, any device."""
        magnitude = error.abs().double()  # converted as a whole: reductions that convert as they go are far slower
        self._squares += float(torch.linalg.vector_norm(magnitude)) ** 2
        self._row_max = max(self._row_max, float(magnitude.sum(dim=1).max()))
        self._columns += magnitude.sum(dim=0).cpu()

    @property
    def frobenius(self) -> float:
        """||E||_F as computed, without the guard of `result`."""
        return math.sqrt(self._squares)

    def result(self) -> Perturbation:
        """Return the norms of all rows added so far, none smaller than the true one."""
        frobenius = self.frobenius * _NORM_GUARD
        mixed = math.sqrt(float(self._columns.max()) * self._row_max) * _NORM_GUARD
        return Perturbation(frobenius, min(frobenius, mixed))
