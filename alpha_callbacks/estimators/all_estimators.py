"""Estimators by name: those that alpha is made by, and those that stand beside it."""

from collections.abc import Callable

import numpy as np

from alpha_callbacks.estimators.csn import csn
from alpha_callbacks.estimators.estimator import Estimator
from alpha_callbacks.estimators.fixed_share import farms, half
from alpha_callbacks.estimators.hill import Hill, Threshold
from alpha_callbacks.estimators.quantile_k import quantile_k
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.estimators.tpl import tpl

Maker = Callable[[float, int, Threshold], Estimator]  # k_frac, k_min, threshold; an estimator takes what it knows

ESTIMATORS: dict[str, Maker] = {"hill": Hill}

# Eigenvalues, float64, shape (n,), descending -> the fit.
OF_SPECTRA: dict[str, Callable[[np.ndarray], TailEstimate]] = {
    "csn": csn,
    "tpl": tpl,
    "half": half,
    "quantile_k": quantile_k,
}
# The matrix itself, shape (out_features, in_features) -> the fit. These solve again.
OF_MATRICES: dict[str, Callable[[np.ndarray], TailEstimate]] = {"farms": farms}

NAMES = (*ESTIMATORS, *OF_SPECTRA, *OF_MATRICES)
