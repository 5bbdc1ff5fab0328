"""Against WeightWatcher 0.7.7, powerlaw 2.0 and a plain fit: their numbers for layers of the embedded model.

benchmarks/estimators.py wrote the file, with these libraries installed; see benchmarks/results/estimators.txt.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.estimators.csn import csn
from alpha_callbacks.estimators.spectral_measures import bulk_measures, norm_measures
from alpha_callbacks.estimators.tpl import tpl
from alpha_callbacks.options import AnalysisOptions

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "estimators.csv"
LINES = [line for line in csv.DictReader(RESULTS.read_text().splitlines()) if line["model"] == "tiny_llama"]
SAME = ("alpha_weighted", "log_alpha_norm", "log_norm", "log_spectral_norm", "matrix_rank", "rank_loss",
        "weak_rank_loss", "detX_num", "ERG_gap", "detX_val")  # fmt: skip


@pytest.fixture(scope="module")
def spectra():
    weights = open_checkpoint(locate(None)).inventory(AnalysisOptions()).weights
    found = {}
    for weight in weights:
        if weight.layer_name in {line["layer"] for line in LINES}:
            matrix = torch.cat(list(weight.row_blocks())).double().numpy()
            found[weight.layer_name] = (np.linalg.svd(matrix, compute_uv=False) ** 2, matrix.shape)
    return found


def test_the_file_has_layers_of_the_model_and_of_forty_others(spectra):
    assert len(LINES) == len(spectra) == 8
    assert len(RESULTS.read_text().splitlines()) > 48


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["layer"])
def test_values_are_theirs(line, spectra):
    evals, shape = spectra[line["layer"]]
    fit, norms = csn(evals), norm_measures(evals, shape)
    for library in ("ww", "np", "pl"):
        assert fit.alpha == pytest.approx(float(line[f"{library}_alpha"]), rel=1e-9)
        assert fit.ks_distance == pytest.approx(float(line[f"{library}_D"]), rel=1e-9)
        assert fit.x_min == pytest.approx(float(line[f"{library}_xmin"]), rel=1e-9)
    assert fit.n_tail == int(line["np_n_tail"])
    assert fit.stderr == pytest.approx(float(line["ww_sigma"]), rel=1e-9)
    for name in SAME:
        assert norms[name] == pytest.approx(float(line[f"ww_{name}"]), rel=1e-9)
    assert norms["entropy"] == pytest.approx(float(line["ww_entropy"]), rel=1e-6)  # theirs adds 1e-10 to each share
    more = tpl(evals).more
    assert more["R_vs_exponential"] == pytest.approx(float(line["pl_R_vs_exponential"]), abs=5e-3)
    assert more["p_vs_truncated"] == pytest.approx(float(line["pl_p_vs_truncated"]), abs=5e-4)
    if line["ww_num_spikes"]:
        bulk = bulk_measures(evals, shape)
        assert bulk["num_spikes"] == float(line["ww_num_spikes"])
        for name in ("sigma_mp", "mp_softrank", "bulk_max"):
            assert bulk[name] == pytest.approx(float(line[f"ww_{name}"]), rel=5e-3)
