"""Estimators by name."""

from collections.abc import Callable

from alpha_callbacks.estimators.estimator import Estimator
from alpha_callbacks.estimators.hill import Hill, Threshold

Maker = Callable[[float, int, Threshold], Estimator]  # k_frac, k_min, threshold; an estimator takes what it knows

ESTIMATORS: dict[str, Maker] = {"hill": Hill}
