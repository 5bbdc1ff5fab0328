"""Norms of a change E of the entries, from one pass: what decides how far eigenvalues can move."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.solvers.gram import fp32_products_are_fp32

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

    def add_rows_of(self, other: "PerturbationMeter") -> None:
        """Add all rows that another one has seen."""
        self._squares += other._squares
        self._row_max = max(self._row_max, other._row_max)
        self._columns += other._columns

    @property
    def frobenius(self) -> float:
        """||E||_F as computed, without the guard of `result`."""
        return math.sqrt(self._squares)

    def result(self) -> Perturbation:
        """Return the norms of all rows added so far, none smaller than the true one."""
        frobenius = self.frobenius * _NORM_GUARD
        mixed = math.sqrt(float(self._columns.max()) * self._row_max) * _NORM_GUARD
        return Perturbation(frobenius, min(frobenius, mixed))


_STRIPS = 16  # of columns of E
_NARROWEST = 32
_ROWS = 512  # of them at a time in fp32
_TINY = 1e-37  # what may be lost where a product leaves the range of fp32


class StripMeter:
    """A sharper bound of ||E||_2: ||E||_2^2 <= the sum of ||E_j||_2^2 over 16 strips of columns E_j.

    ||E_j||_2^2 = ||G||_2 with G = E_j^T E_j, and ||G||_2 <= ||G^8||_F^(1/8). For the rounding of a square matrix the
    bound is about 2.6 times the truth, where that of `Perturbation` grows with the root of n: 28 times at 4096.
    """

    def __init__(self, in_features: int, largest: float) -> None:
        """Begin with no rows.

        Args:
            in_features: columns of E.
            largest: max |w| of the matrix that E is a change of; E is measured in a power of two near it.
        """
        self._width = max(_NARROWEST, -(-in_features // _STRIPS))
        self._count = -(-in_features // self._width)
        self._scale = 2.0 ** -math.frexp(largest)[1]
        self._grams = torch.zeros(self._count, self._width, self._width, dtype=torch.float64)
        self._rows = 0
        self._dtype = torch.float32 if fp32_products_are_fp32(on_cpu=True) else torch.float64

    def add(self, error: Tensor) -> None:
        """Add rows of E, shape (r, in_features), on the CPU."""
        self._rows += len(error)
        for rows in error.split(_ROWS):
            scaled = torch.zeros(len(rows), self._count * self._width, dtype=self._dtype)
            torch.mul(rows, self._scale, out=scaled[:, : rows.shape[1]])
            strips = scaled.view(len(rows), self._count, self._width).permute(1, 0, 2)
            self._grams += torch.bmm(strips.transpose(1, 2), strips)

    def bound(self) -> float:
        """Return a bound of ||E||_2, rounding included."""
        grams = (self._grams + self._grams.transpose(1, 2)) / 2  # powers bound the norm of symmetric matrices only
        traces = grams.diagonal(dim1=1, dim2=2).sum(dim=1)
        power = grams / traces.clamp(min=_TINY)[:, None, None]
        for _ in range(3):
            power = torch.bmm(power, power)
        sizes = traces * torch.linalg.matrix_norm(power) ** 0.125 * _NORM_GUARD
        single = _ROWS * 2.0**-24  # of a product in fp32, whatever the order of its sum
        sizes += traces * 1.01 * single + self._rows * self._width * _TINY
        return math.sqrt(float(sizes.sum())) * _NORM_GUARD / self._scale
