"""A second estimator behind the signature of the first: one class, and nothing else knows of it."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis.analyze import analyze_with_spectra
from alpha_callbacks.estimators.all_estimators import ESTIMATORS
from alpha_callbacks.estimators.estimator import Estimator, StoredMatrix, TailFit
from alpha_callbacks.estimators.hill import Hill
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.solvers.perturbation import Perturbation
from alpha_callbacks.solvers.spectrum import Rounding
from tests.conftest import heavy, weight_of


@dataclass(frozen=True)
class Quantile:
    """A toy: alpha from the ratio of two eigenvalues, with a crude bound."""

    k: int = 20
    refuses: str = ""

    @property
    def name(self) -> str:
        return "quantile"

    def tail_size(self, n: int) -> int:
        return min(self.k, n - 1)

    def null(self, out_features: int, in_features: int) -> float:
        return math.nan

    def unresolved(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix, rounding: Rounding) -> str:
        return f"{self.refuses} does not do" if rounding.name == self.refuses else ""

    def fit(self, evals: Tensor, frobenius_sq: float, matrix: StoredMatrix) -> TailFit:
        alpha = 1 + math.log(self.k) / math.log(float(evals[0] / evals[self.k]))
        return TailFit(alpha, self.k, float(evals[self.k]), math.nan, math.nan, "ok")

    def error_bound(self, evals: Tensor, fit: TailFit, change: Perturbation, matrix: StoredMatrix) -> float:
        return 0.0 if change.spectral < 1e-2 * float(evals[self.k]) ** 0.5 else math.inf

    def leading(self, n: int) -> int:
        return 0

    def alpha_range(self, lower: Tensor, upper: Tensor, matrix: StoredMatrix) -> tuple[float, float]:
        raise AssertionError("nothing is proved of an estimator without leading eigenvalues")


def analysed(
    toy: Estimator, monkeypatch: pytest.MonkeyPatch, *precisions: str
) -> tuple[Tensor, dict[str, tuple[float, str, str]]]:
    monkeypatch.setitem(ESTIMATORS, "hill", lambda k_frac, k_min, threshold: toy)
    matrix = heavy(200, 120)
    rows = analyze_with_spectra(weight_of(matrix), AnalysisOptions(precisions=precisions)).rows
    return matrix, {row.precision: (row.alpha, row.method, row.solver) for row in rows}


def test_rows_are_made_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, rows = analysed(Quantile(), monkeypatch, "fp32", "fp16", "int4")
    evals = torch.linalg.svdvals(matrix.double()) ** 2
    assert rows["fp32"] == (pytest.approx(1 + math.log(20) / math.log(evals[0] / evals[20])), "lossless", "gram_fp64")
    assert rows["fp16"][1] == "bounded" and rows["int4_g32"][1] == "computed"


def test_it_decides_what_the_solver_must_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert analysed(Quantile(refuses="gram_fp64"), monkeypatch, "fp32")[1]["fp32"][2] == "svd_fp64"


def test_hill_is_the_first() -> None:
    estimator: Estimator = ESTIMATORS["hill"](0.2, 5, "last")
    assert estimator == Hill(k_frac=0.2, k_min=5, threshold="last")
    assert [ESTIMATORS[name](0.1, 10, "next").name for name in ESTIMATORS] == list(ESTIMATORS)
