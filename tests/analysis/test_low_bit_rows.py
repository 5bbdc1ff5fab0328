"""What a scan says of low-bit precisions, next to alpha."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import alpha_callbacks.precisions.registry as registry
from alpha_callbacks.analysis import quantization_error, solve
from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.quantization_error import error_of, through
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import all_precisions, get_precision, register
from alpha_callbacks.tables.table import Row, Table
from tests.conftest import heavy, noise, weight_of

LOW = ("fp8_e4m3", "fp8_e5m2", "int8", "mxfp8", "mxfp6", "int4", "nf4", "nvfp4", "mxfp4", "int2", "fp8:block128")


def analyze(matrix: Tensor, *precisions: str) -> dict[str, Row]:
    rows = analyze_weight(weight_of(matrix), AnalysisOptions(precisions=precisions))
    return {row.precision: row for row in rows}


@pytest.fixture
def own_registry() -> Iterator[None]:
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


@pytest.mark.parametrize("name", LOW)
def test_round_trips_in_pieces_are_those_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 128 x 128 begin where they would; the last piece is shorter."""
    monkeypatch.setattr(quantization_error, "_CACHE_ELEMENTS", 1000)
    precision, w = get_precision(name), heavy(300, 256)
    largest = float(w.abs().max())
    whole = precision.round_trip(w, largest)
    pieces, error = (change(precision, largest)(w) for change in (through, error_of))
    assert pieces.dtype == whole.dtype and torch.equal(pieces, whole)
    assert torch.equal(error, (w.to(whole.dtype) - whole) / largest)


@pytest.mark.parametrize("shape", [(300, 130), (130, 300), (90, 90)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_errors_alpha_and_bits_against_a_direct_computation(shape: tuple[int, int], dtype: torch.dtype) -> None:
    from alpha_callbacks.estimators.hill import hill_alpha, tail_size

    matrix = heavy(*shape, dtype=dtype)
    wide = matrix if dtype is torch.float64 else matrix.float()
    rows = analyze(matrix, "fp32", *LOW)
    for name in LOW:
        precision = get_precision(name)
        row = rows[precision.name]
        quantized = precision.round_trip(wide, float(wide.abs().max())).double()
        error = wide.double() - quantized
        assert row.status == "ok" and row.method == "computed"
        assert row.relative_error == pytest.approx(float(error.norm() / wide.double().norm()), rel=1e-5)
        norms = [float(torch.linalg.matrix_norm(m, 2)) for m in (error, wide.double())]
        assert row.spectral_error == pytest.approx(norms[0] / norms[1], rel=1e-4)
        assert row.sqnr_db == pytest.approx(-20 * math.log10(row.relative_error))
        assert row.effective_bits == precision.effective_bits(*shape)
        assert row.underflow == int(((wide != 0) & (quantized == 0)).sum()) and row.overflow == 0
        evals = torch.linalg.svdvals(quantized) ** 2
        expected = hill_alpha(evals, k=tail_size(min(shape))).alpha
        assert row.alpha == pytest.approx(expected, rel=1e-10)


def test_what_is_lossless_has_no_error() -> None:
    rows = analyze(heavy(80, 60, dtype=torch.bfloat16), "fp32", "bf16")
    assert all((r.relative_error, r.spectral_error, r.sqnr_db) == (0.0, 0.0, math.inf) for r in rows.values())


def test_wider_casts_have_a_relative_error_but_no_spectral_one() -> None:
    row = analyze(heavy(80, 60), "fp32", "bf16")["bf16"]
    assert 1e-3 < row.relative_error < 4e-3 and math.isnan(row.spectral_error)


def test_the_spectral_error_needs_no_wider_precision() -> None:
    matrix = heavy(120, 400)
    assert analyze(matrix, "int4")["int4_g32"].spectral_error == pytest.approx(
        analyze(matrix, "fp32", "int4")["int4_g32"].spectral_error, rel=1e-4
    )


@pytest.mark.parametrize(("name", "limit"), [("fp8:none", 448), ("e5m2:none", 57344)])
def test_unscaled_floats_saturate_and_say_how_often(name: str, limit: float) -> None:
    matrix = heavy(80, 60)
    matrix[3, :7] = limit * 2
    row = analyze(matrix, name)[get_precision(name).name]
    assert (row.status, row.overflow) == ("ok", 7) and 0.4 < row.relative_error < 0.6


def test_unscaled_floats_lose_small_weights_scaled_ones_do_not() -> None:
    matrix = heavy(80, 60) * 1e-6
    rows = analyze(matrix, "fp32", "fp8", "fp8:none")
    assert rows["fp8_e4m3"].relative_error < 0.04
    lost = rows["fp8_e4m3_none"]
    assert lost.status == "degenerate" and math.isnan(lost.alpha) and lost.relative_error == pytest.approx(1)
    assert lost.underflow == int((matrix != 0).sum())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_give_a_status_in_every_format(bad: float) -> None:
    matrix = heavy(80, 60)
    matrix[5, 5] = bad
    assert {row.status for row in analyze(matrix, "fp32", *LOW).values()} == {"non_finite"}


def test_zeros_give_a_status_in_every_format() -> None:
    assert {row.status for row in analyze(torch.zeros(80, 60), "fp32", *LOW).values()} == {"degenerate"}


def test_rows_that_no_block_divides_are_unsupported_in_gguf_alone() -> None:
    pytest.importorskip("gguf")
    rows = analyze(heavy(80, 60), "fp32", "gguf:q8_0")
    assert (rows["fp32"].status, rows["gguf_q8_0"].status) == ("ok", "unsupported")
    assert rows["gguf_q8_0"].reason == "in_features 60 is no multiple of the 32 that a block has"


@pytest.mark.usefixtures("own_registry")
def test_a_format_that_fails_leaves_the_others_of_its_layer_alone() -> None:
    def broken(rows: Tensor, largest: float) -> Tensor:
        raise ZeroDivisionError("a bug of theirs")

    register(Precision("broken", (), 4, None, broken))
    rows = analyze(noise(80, 60), "fp32", "broken", "int4")
    assert [row.status for row in rows.values()] == ["ok", "failed", "ok"]
    assert rows["broken"].reason == "ZeroDivisionError: a bug of theirs"


def test_drift_is_measured_from_the_finest_precision_asked_for() -> None:
    table = Table.from_rows(analyze(noise(80, 60), "int4", "int8", "bf16").values(), ("int4_g32", "int8", "bf16"))
    assert table.reference == "bf16"
    low_only = Table.from_rows(analyze(noise(80, 60), "int4", "int8").values(), ("int4_g32", "int8"))
    assert low_only.reference == "int8"


def test_tall_matrices_stream_in_whole_tiles() -> None:
    """128 x 128 tiles must not be torn by the blocks in which a matrix is read."""
    matrix = noise(1500, 8192, dtype=torch.float32)
    row = analyze(matrix[:, :4100], "fp8:block128")["fp8_e4m3_block128"]
    precision = get_precision("fp8:block128")
    whole = precision.round_trip(matrix[:, :4100], float(matrix.abs().max()))
    expected = float((matrix[:, :4100] - whole).double().norm() / matrix[:, :4100].double().norm())
    assert row.relative_error == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_each_format_costs_one_decomposition_at_most(stored: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = list[str](), solve.spectrum
    monkeypatch.setattr(solve, "spectrum", lambda *a, **k: calls.append("") or real(*a, **k))
    weight = weight_of(noise(96, 64).to(stored))

    def solves(*precisions: str) -> int:
        calls.clear()
        assert all(row.ok for row in analyze_weight(weight, AnalysisOptions(precisions=precisions)))
        return len(calls)

    before = solves("fp32", "fp16", "bf16")
    low_bit = [precision.name for precision, _ in all_precisions() if precision.low_bit]
    assert solves("fp32", "fp16", "bf16", "int4") == before + 1
    assert solves("fp32", "fp16", "bf16", *low_bit) == before + len(low_bit)
