"""The spectrum of a product of two thin factors, without the product."""

import torch
from torch import Tensor

from alpha_callbacks.solvers.spectrum import Spectrum


def product_spectrum(left: Tensor, right: Tensor) -> Spectrum:
    """Return the eigenvalues of (L R)^T (L R) on its short side; those beyond the rank are exactly zero.

    With L = Q S and R^T = P T, Q and P orthonormal, the singular values are those of S T^T, a matrix of the rank's
    size: accurate to eps * sigma_1, at a cost that does not grow with the square of the sides.

    Args:
        left: shape (m, r), float64, finite.
        right: shape (r, n), float64, finite.
    """
    s, t = (torch.linalg.qr(factor.cpu(), mode="r").R for factor in (left, right.T))
    core = s @ t.T
    sigma: Tensor = torch.linalg.svdvals(core)
    evals = torch.zeros(min(left.shape[0], right.shape[1]), dtype=torch.float64)
    evals[: len(sigma)] = sigma**2
    return Spectrum(evals, float(torch.linalg.vector_norm(core)), "factors")
