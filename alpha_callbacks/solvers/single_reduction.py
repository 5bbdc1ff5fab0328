"""A Gram matrix in fp32 -> Q T Q^T, T tridiagonal, in fp32 but for its largest directions; and that product in fp64.

The reflectors that fp32 arithmetic has chosen are numbers like any others: applied in fp64 they make an orthogonal Q.
So T has the eigenvalues of Q T Q^T, and what all of fp32 has done is the one matrix W^T W - Q T Q^T, which is measured.
The rounding of a reduction is in proportion to the largest eigenvalue, and what alpha is made from may be far below
it. So the first steps are made in fp64, by Lanczos, and only what they leave is reduced in fp32.
"""

import math

import torch
from torch import Tensor

from alpha_callbacks.errors import SolverError
from alpha_callbacks.solvers.gram import mirror
from alpha_callbacks.solvers.reflectors import ReflectorBlock
from alpha_callbacks.solvers.rounding import UNIT
from alpha_callbacks.solvers.tridiagonal import eigenvalue_counts, reduce_single, tridiagonal_eigenvalues

_FIRST = 8  # steps in fp64
_BLOCK = 64  # reflectors applied at a time
_ROWS = 256  # of the Gram matrix turned into fp64 at a time
_SEED = 0


class SingleReduction:
    """A symmetric matrix in fp32 as Q T Q^T, in the memory of that matrix."""

    def __init__(self, gram: Tensor) -> None:
        """Reduce it.

        Args:
            gram: shape (n, n), float32, contiguous, on the CPU, as `add_gram` fills it. It is overwritten.

        Raises:
            SolverError: LAPACK failed.
        """
        n = len(gram)
        mirror(gram)
        basis, diagonal, off = _lanczos(gram, _FIRST)
        # Reflectors that turn the basis into the last coordinates, the start into the last of all, as LAPACK does it.
        turned, taus = torch.geqrf(basis.flip(0))
        signs = turned.diagonal().sign()
        first = turned.tril(-1)
        first.diagonal().fill_(1.0)
        self._first = ReflectorBlock((first * (taus != 0)).flip(0).T.contiguous())
        _turn(gram, self._first)
        inner = n - _FIRST  # coordinates that are left to fp32
        small, small_off, tau = reduce_single(gram, inner)
        self.diagonal = torch.cat([small.double(), diagonal.flip(0)])
        self.off = torch.cat([small_off.double(), (off * signs[1:] * signs[:-1]).flip(0)])
        self._blocks = [ReflectorBlock(_reflectors(gram, tau, start)) for start in range(0, inner - 1, _BLOCK)]
        everything = (self._first, *self._blocks)
        self.defect = math.expm1(sum(math.log1p(block.defect) for block in everything)) * (1 + 1e-9)
        """A bound of ||Q^T Q - I||_2."""
        # ||T||_inf is at least ||T||_2; both Q and Q^T are applied, each off by the sum of its blocks.
        sides = 2 * math.expm1(sum(math.log1p(block.rounding + block.defect) for block in everything))
        sides -= 2 * math.expm1(sum(math.log1p(block.defect) for block in everything))
        if not sides + self.defect < 1e-3:
            raise SolverError(f"expected orthogonal reflectors, got Q^T Q off by {self.defect:.1g}")
        self.rounding = self.size * (sides + 8 * UNIT) * 1.1
        """||fl(Q T Q^T x) - Q T Q^T x||_F / ||x||_F is at most this."""

    @property
    def size(self) -> float:
        """A bound of ||T||_2."""
        beside = torch.zeros(len(self.diagonal), dtype=torch.float64)
        beside[1:] += self.off.abs()
        beside[:-1] += self.off.abs()
        return float((self.diagonal.abs() + beside).max()) * (1 + 4 * UNIT)

    def values(self, leading: int) -> tuple[Tensor, float]:
        """Return (all eigenvalues of T, descending, how far each of the leading ones may be off).

        The eigensolver is not trusted: Sturm counts on both sides of each say that it is there. They are those of a
        matrix within a few units in the last place of the entries of T (Kahan 1966).

        Raises:
            SolverError: one is not there.
        """
        values = tridiagonal_eigenvalues(self.diagonal, self.off).flip(0)
        n, size = len(values), self.size
        within = 4 * n * UNIT * size
        top = values[:leading]
        below = eigenvalue_counts(self.diagonal, self.off, torch.stack([top - within, top + within]))
        places = torch.arange(leading)
        if bool((below[0] > n - 1 - places).any() or (below[1] < n - places).any()):
            raise SolverError("the eigenvalues of the tridiagonal form are not where they were said to be")
        return values, within + 32 * UNIT * size

    def times(self, x: Tensor) -> Tensor:
        """Return the rows of x, shape (p, n), float64, times Q T Q^T."""
        x = x.clone()
        self._first.apply(x, transposed=True)
        for block in reversed(self._blocks):  # of which each is the product in reverse, as LAPACK has it
            block.apply(x, transposed=False)
        image = x * self.diagonal
        image[:, 1:] += x[:, :-1] * self.off
        image[:, :-1] += x[:, 1:] * self.off
        for block in self._blocks:
            block.apply(image, transposed=True)
        self._first.apply(image, transposed=False)
        return image


def _reflectors(gram: Tensor, tau: Tensor, start: int) -> Tensor:
    """Return up to 64 vectors as LAPACK left them along the rows of the lower triangle, shape (count, length).

    The i-th has its 1 at i, and only zeros after it; the first of all is no reflector.
    """
    stop = min(start + _BLOCK, len(tau))
    along = gram[start + 1 : stop + 1, :stop].double()
    along[:, start:].tril_(-1).diagonal().fill_(1.0)
    along[tau[start:stop] == 0] = 0
    return along


def _lanczos(gram: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (basis of shape (n, steps + 1), diagonal, off-diagonal of the tridiagonal form it makes), in fp64.

    With full orthogonalization. Source: Parlett, The Symmetric Eigenvalue Problem, chapter 13.
    """
    n = len(gram)
    generator = torch.Generator().manual_seed(_SEED)
    start = torch.randn(n, generator=generator, dtype=torch.float64)
    basis = (start / start.norm())[:, None]
    diagonal, off = list[float](), list[float]()
    for _ in range(steps):
        product = torch.cat([rows.double() @ basis[:, -1] for rows in gram.split(_ROWS)])
        diagonal.append(float(product @ basis[:, -1]))
        for _ in range(2):
            product -= basis @ (basis.T @ product)
        off.append(float(product.norm()))
        if off[-1] <= 1e-12 * max(diagonal):  # an invariant space: any direction will do, and what it costs is measured
            product = torch.randn(n, generator=generator, dtype=torch.float64)
            for _ in range(2):
                product -= basis @ (basis.T @ product)
        basis = torch.cat([basis, (product / product.norm())[:, None]], dim=1)
    return basis, torch.tensor(diagonal, dtype=torch.float64), torch.tensor(off, dtype=torch.float64)


def _turn(gram: Tensor, block: ReflectorBlock) -> None:
    """Replace a symmetric matrix by H^T G H, in fp64 but for the entries themselves."""
    vectors = block.vectors
    image = torch.cat([vectors @ rows.double().T for rows in gram.split(_ROWS)], dim=1)  # V^T G
    x = block.s.T @ image
    x -= block.s.T @ (x @ vectors.T).T @ vectors / 2  # H^T G H = G - X V^T - V X^T
    for start in range(0, len(gram), _ROWS):
        rows = gram[start : start + _ROWS]
        wide = rows.double()
        wide.addmm_(x[:, start : start + _ROWS].T, vectors, alpha=-1)
        wide.addmm_(vectors[:, start : start + _ROWS].T, x, alpha=-1)
        rows.copy_(wide)
