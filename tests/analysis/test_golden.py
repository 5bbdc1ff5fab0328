"""Alpha of real weights against an independent fp64 SVD (tests/golden, made by others).

CI decomposes the middle block of SmolLM2 and the first of MiniLM: every shape, precision and solver. All blocks::

    pytest -m evidence tests/analysis/test_golden.py
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.estimators.hill import Threshold, hill_alpha
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.solvers import shortest_way
from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.tables.table import Row
from tests.conftest import REPOSITORY
from tests.support.fast_solver import fast_from

PRECISIONS = ("fp64", "fp32", "fp16", "bf16")
GOLDEN = REPOSITORY / "tests" / "golden" / "smollm2_135m_gguf_alpha.csv"
TOLERANCE = {"exact": 1e-9, "fast": 2e-4}
COLUMN = {"next": "alpha_", "last": "alpha_kth_"}
ONE = r"^blk\.14\."


@dataclass(frozen=True)
class Solved:
    """Layers of SmolLM2, decomposed once with one solver, and their rows of the golden file by name."""

    results: list[Result]
    expected: dict[str, dict[str, str]]
    tolerance: float


def golden(layers: str | None) -> dict[str, dict[str, str]]:
    """Return layer name -> row of the golden file, of the layers that the pattern finds."""
    rows = csv.DictReader(GOLDEN.read_text().splitlines())
    return {name: row for row in rows if re.search(layers or "", name := row["tensor"].removesuffix(".weight"))}


def analysed(checkpoint: Path, options: AnalysisOptions) -> list[Result]:
    """Return the results, with eigenvalues, of the layers that the golden file has."""
    names = golden(options.include).keys()
    weights = [w for w in open_checkpoint(checkpoint).inventory(options).weights if w.layer_name in names]
    return list(analyze_weights(weights, options, Parallelism(2, 1), spectra_of=names))


@pytest.fixture(
    scope="module",
    params=[(ONE, 1), pytest.param((None, 30), marks=pytest.mark.evidence)],
    ids=["one block", "all blocks"],
)
def blocks(request: pytest.FixtureRequest) -> tuple[str | None, int]:
    """Return a pattern of layers, and how many blocks they are."""
    found: tuple[str | None, int] = request.param
    return found


@pytest.fixture(scope="module", params=TOLERANCE)
def solved(smollm2: Path, blocks: tuple[str | None, int], request: pytest.FixtureRequest) -> Solved:
    layers, count = blocks
    options = AnalysisOptions(precisions=PRECISIONS, solver=request.param, include=layers)
    expected = golden(layers)
    assert len(expected) == 7 * count
    with pytest.MonkeyPatch.context() as patch:
        fast_from(128, patch)  # layers of this model are too small for `fast` to gain
        return Solved(analysed(smollm2, options), expected, TOLERANCE[request.param])


@pytest.mark.real
def test_smollm2(solved: Solved) -> None:
    """Exact values agree to 1e-9, those of fp32 arithmetic to the bounds they are printed with."""
    expected, rows = solved.expected, [row for result in solved.results for row in result.rows]
    assert {(row.layer_name, row.precision) for row in rows} == {(name, p) for name in expected for p in PRECISIONS}
    assert len(rows) == len(expected) * 4
    for row in rows:
        line = expected[row.layer_name]
        value, bound = float(line["alpha_" + row.precision]), row.alpha_error_bound
        assert abs(row.alpha - value) <= max(1e-9 * value, bound if row.solver == "gram_fp32" else 0.0), row.layer_name
        assert (row.k_used, row.n_eigs) == (int(line["k"]), int(line["n"]))
        assert (row.out_features, row.in_features) == (int(line["rows"]), int(line["cols"]))


@pytest.mark.real
@pytest.mark.parametrize("threshold", get_args(Threshold))
def test_smollm2_from_its_eigenvalues(threshold: Threshold, solved: Solved) -> None:
    """One decomposition serves both thresholds: the eigenvalues that a scan keeps are enough for either alpha."""
    expected, compared = solved.expected, 0
    for result in solved.results:
        k = int(expected[result.layer_name]["k"])
        for precision, evals in result.spectra.items():
            alpha = hill_alpha(evals, k=k, threshold=threshold).alpha
            value = float(expected[result.layer_name][COLUMN[threshold] + precision])
            assert alpha == pytest.approx(value, rel=solved.tolerance), (result.layer_name, precision)
            compared += 1
    assert compared == len(expected) * 4


@pytest.mark.real
@pytest.mark.parametrize("solver", TOLERANCE)
def test_smollm2_with_the_last_threshold(smollm2: Path, solver: str) -> None:
    """The option itself, on one block: every shape and every precision."""
    options = AnalysisOptions(precisions=PRECISIONS, solver=solver, threshold="last", include=ONE)  # type: ignore[arg-type]
    expected, rows = golden(ONE), [row for result in analysed(smollm2, options) for row in result.rows]
    assert len(rows) == 7 * 4
    for row in rows:
        line = expected[row.layer_name]
        assert row.alpha == pytest.approx(float(line["alpha_kth_" + row.precision]), rel=TOLERANCE[solver])
        assert (row.k_used, row.threshold) == (int(line["k"]), "last")


@pytest.mark.real
@pytest.mark.parametrize("threshold", get_args(Threshold))
def test_what_is_proved_of_smollm2_holds(smollm2: Path, threshold: Threshold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value that is proved is within its bound of the golden one, and the others are the golden ones."""
    monkeypatch.setattr(shortest_way, "_FEW", 10**6)
    monkeypatch.setattr(shortest_way, "_LARGE", 0)  # with the faster solves nothing pays for matrices so narrow
    methods = set()
    options, expected = AnalysisOptions(precisions=PRECISIONS, threshold=threshold, include=ONE), golden(ONE)
    weights = open_checkpoint(smollm2).inventory(options).weights
    for row in (row for weight in weights for row in analyze_weight(weight, options)):
        value = float(expected[row.layer_name][COLUMN[threshold] + row.precision])
        bound = row.alpha_error_bound if row.method in ("bounded", "certified") else 0.0
        assert abs(row.alpha - value) <= bound + 1e-9 * value, row.layer_name
        assert bound <= 1e-5 * value
        methods.add(row.method)
    assert "certified" in methods or not available()


@pytest.mark.real
def test_smollm2_has_a_tied_head_as_a_row(smollm2: Path) -> None:
    inventory = open_checkpoint(smollm2).inventory(AnalysisOptions())
    assert len(inventory.weights) == 211
    head = inventory.weights[-1]
    assert (head.layer_name, head.category, head.tied_to) == ("output", "lm_head", "token_embd")
    assert head.unsupported == ""
    (embedding,) = (tensor for tensor in inventory.skipped if tensor.shared)
    assert embedding.name == "token_embd.weight"


@pytest.mark.real
@pytest.mark.parametrize(
    ("layers", "count"),
    [(r"encoder\.layer\.0\.|pooler", 7), pytest.param(None, 37, marks=pytest.mark.evidence)],
    ids=["one block", "all blocks"],
)
def test_minilm_agrees_with_numpy(minilm: Path, layers: str | None, count: int) -> None:
    """True fp32 weights; the reference here is NumPy on the tensors that safetensors gives."""
    import numpy as np
    from safetensors.numpy import load_file

    stored = load_file(minilm / "model.safetensors")
    options = AnalysisOptions(include=layers)
    weights = open_checkpoint(minilm).inventory(options).weights
    assert len(weights) == count
    for result in analyze_weights(weights, options, Parallelism(2, 1)):
        by_precision: dict[str, Row] = {row.precision: row for row in result.rows}
        w = stored[result.layer_name + ".weight"]
        for precision, kind in (("fp32", np.float32), ("fp16", np.float16)):
            evals = np.linalg.svd(w.astype(kind).astype(np.float64), compute_uv=False) ** 2
            k = by_precision[precision].k_used
            row = by_precision[precision]
            proved = row.alpha_error_bound if row.method == "certified" else 0.0
            assert row.alpha == pytest.approx(1 + k / np.log(evals[:k] / evals[k]).sum(), rel=1e-9, abs=proved)
