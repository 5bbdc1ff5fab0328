"""Alpha of real weights against an independent fp64 SVD (tests/golden, made by others)."""

import csv
from pathlib import Path

import pytest

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row
from tests.conftest import REPOSITORY

PRECISIONS = ("fp64", "fp32", "fp16", "bf16")
GOLDEN = REPOSITORY / "tests" / "golden" / "smollm2_135m_gguf_alpha.csv"


@pytest.mark.real
@pytest.mark.parametrize(("threshold", "column"), [("next", "alpha_"), ("last", "alpha_kth_")])
@pytest.mark.parametrize(("solver", "tolerance"), [("exact", 1e-9), ("fast", 2e-5)])
def test_smollm2(smollm2: Path, solver: str, tolerance: float, threshold: str, column: str) -> None:
    golden = {row["tensor"].removesuffix(".weight"): row for row in csv.DictReader(GOLDEN.read_text().splitlines())}
    options = AnalysisOptions(precisions=PRECISIONS, solver=solver, threshold=threshold)  # type: ignore[arg-type]
    weights = open_checkpoint(smollm2).inventory(options).weights
    rows = [row for result in analyze_weights(weights, options, Parallelism(2, 1)) for row in result.rows]
    compared = {(row.layer_name, row.precision): row for row in rows if row.layer_name in golden}
    assert len(compared) == 210 * 4
    for (layer, precision), row in compared.items():
        expected = golden[layer]
        assert row.alpha == pytest.approx(float(expected[column + precision]), rel=tolerance), (layer, precision)
        assert (row.k_used, row.n_eigs) == (int(expected["k"]), int(expected["n"]))
        assert (row.out_features, row.in_features) == (int(expected["rows"]), int(expected["cols"]))


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
def test_minilm_agrees_with_numpy(minilm: Path) -> None:
    """True fp32 weights; the reference here is NumPy on the tensors that safetensors gives."""
    import numpy as np
    from safetensors.numpy import load_file

    stored = load_file(minilm / "model.safetensors")
    options = AnalysisOptions()
    weights = open_checkpoint(minilm).inventory(options).weights
    assert len(weights) == 37
    for result in analyze_weights(weights, options, Parallelism(2, 1)):
        by_precision: dict[str, Row] = {row.precision: row for row in result.rows}
        w = stored[result.layer_name + ".weight"]
        for precision, kind in (("fp32", np.float32), ("fp16", np.float16)):
            evals = np.linalg.svd(w.astype(kind).astype(np.float64), compute_uv=False) ** 2
            k = by_precision[precision].k_used
            assert by_precision[precision].alpha == pytest.approx(1 + k / np.log(evals[:k] / evals[k]).sum(), rel=1e-9)
