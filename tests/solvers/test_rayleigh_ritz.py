"""Eigenvalues of a changed matrix lie within the bounds proved from vectors of the one before."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.solvers.perturbation import StripMeter
from alpha_callbacks.solvers.rayleigh_ritz import RayleighRitz
from alpha_callbacks.solvers.rounding import enclosed_eigenvalues, orthogonality_defect
from benchmarks.certificate import CHANGES, SPECTRA, attack
from tests.conftest import heavy, noise, orthogonal


def test_no_bound_is_broken_by_worst_case_changes() -> None:
    """Part of `python -m benchmarks.certificate`, whose output is committed."""
    tally = attack(400)
    assert tally.violations == []
    assert set(tally.certified) == set(SPECTRA) and set(tally.changes) == set(CHANGES)
    assert tally.cases < 600
    assert max(tally.shares) > 0.9  # some change uses nearly all of it, so the bound is not vacuous


@pytest.mark.parametrize("q", [8, 12, 20])
def test_estimate_is_nearer_than_the_bounds(q: int) -> None:
    w = heavy(120, 60, dtype=torch.float64)
    changed = w + 1e-4 * noise(120, 60, seed=3, dtype=torch.float64) * float(w.std())
    _, s, vt = torch.linalg.svd(w, full_matrices=False)
    vectors = vt[:q].T.contiguous()
    ritz = RayleighRitz(vectors, orthogonality_defect(vectors))
    ritz.add(changed[:50])
    ritz.add(changed[50:])
    size = float(torch.linalg.matrix_norm(changed - w, 2)) * (1 + 1e-9)
    values = ritz.result((float(s[q]) + size) ** 2, 7, s[q:] ** 2)
    assert values is not None
    truth = torch.linalg.svdvals(changed) ** 2
    assert bool((values.lower <= truth[:q]).all()) and bool((truth[:7] <= values.upper).all())
    error, width = (values.estimate[:7] - truth[:7]).abs(), values.upper - values.lower[:7]
    assert bool((error <= 0.2 * width).all())
    assert values.frobenius_norm == pytest.approx(float(changed.norm()))
    assert ritz.result(float(s[0] ** 2), 7, s[q:] ** 2) is None  # the complement may hold more than the tail


@given(st.integers(0, 1000), st.sampled_from(["noise", "rank one", "one column", "one row", "zero", "tiny"]))
def test_strips_bound_the_norm_of_a_change(seed: int, kind: str) -> None:
    e = noise(70, 90, seed=seed)
    e = {
        "noise": e,
        "rank one": e[:, :1] @ e[:1],
        "one column": torch.where(torch.arange(90) == 40, e, 0.0),
        "one row": torch.where(torch.arange(70)[:, None] == 4, e, 0.0),
        "zero": torch.zeros(70, 90),
        "tiny": e * 1e-25,
    }[kind]
    meter = StripMeter(90, float(e.abs().max()) * 200 or 1.0)
    for rows in e.split(30):
        meter.add(rows)
    truth = float(torch.linalg.matrix_norm(e.double(), 2))
    assert truth <= meter.bound() <= 3 * truth + 1e-16


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e8])
def test_enclosed_eigenvalues(scale: float) -> None:
    rotation, values = orthogonal(40, 40), torch.linspace(3, 0.1, 40, dtype=torch.float64) ** 3 * scale
    found, _, off = enclosed_eigenvalues(rotation * values @ rotation.T)
    assert bool(((found - values).abs() <= off + 1e-14 * scale * 27).all())
    assert off < 1e-10 * scale
