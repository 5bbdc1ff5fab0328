import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alpha_integrations import ggml_rounding

from alpha_callbacks.errors import MissingExtraError

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

KINDS = gguf.GGMLQuantizationType


def drawn(rows: int = 4, columns: int = 256) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


# ‖w − Q(w)‖ / ‖w‖ of 8192 normal weights, by libggml-python 0.20.2: each type has its own grid.
ERRORS = {
    "q2_k": 0.293, "q3_k": 0.151, "q4_k": 0.071, "q5_k": 0.036, "q6_k": 0.0175, "iq4_nl": 0.076, "iq4_xs": 0.076,
    "iq3_s": 0.166, "iq3_xxs": 0.215,
}  # fmt: skip


@pytest.mark.parametrize("name", ggml_rounding.CODE_BITS)
def test_what_gguf_decodes_is_near(name: str) -> None:
    kind, rows = KINDS[name.upper()], drawn(1 if name.startswith("iq3") else 4)
    found = ggml_rounding.rounded(rows, kind)
    values = gguf.dequantize(found, kind)
    assert np.linalg.norm(values - rows) / np.linalg.norm(rows) == pytest.approx(ERRORS[name], rel=0.15)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    assert found.shape == (len(rows), rows.shape[1] // block * size)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q5_0"])
def test_the_bytes_of_gguf_itself_where_it_can(name: str) -> None:
    kind, rows = KINDS[name.upper()], drawn()
    assert np.array_equal(ggml_rounding.rounded(rows, kind), gguf.quantize(rows, kind))


@pytest.mark.parametrize("name", ["q4_k", "q6_k", "iq4_nl", "q4_0"])
def test_columns_that_count_are_closer(name: str) -> None:
    kind, rows = KINDS[name.upper()], drawn()
    counts = np.where(np.arange(256) % 8 == 0, 100.0, 0.01)
    errors = {}
    for which, importance in (("alike", None), ("by inputs", counts), ("scaled", counts * 1e30)):
        wrong = gguf.dequantize(ggml_rounding.rounded(rows, kind, importance), kind) - rows
        errors[which] = float(np.sqrt((wrong**2 @ counts).sum()))
    assert errors["by inputs"] < 0.9 * errors["alike"] and errors["scaled"] == errors["by inputs"]


def test_columns_that_all_count_nothing_count_alike() -> None:
    kind, rows = KINDS.Q4_K, drawn()
    assert np.array_equal(
        ggml_rounding.rounded(rows, kind, np.zeros(256)), ggml_rounding.rounded(rows, kind, np.ones(256))
    )


@pytest.mark.parametrize("name", ["q4_0", *ggml_rounding.CODE_BITS])
def test_a_block_whose_columns_count_nothing_keeps_its_weights(name: str) -> None:
    kind, rows = KINDS[name.upper()], drawn(1, 512)
    counts = (np.arange(512) < 256).astype(np.float64)
    wrong = (gguf.dequantize(ggml_rounding.rounded(rows, kind, counts), kind) - rows)[:, 256:]
    assert np.linalg.norm(wrong) / np.linalg.norm(rows[:, 256:]) < 0.35


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e18, -3e38])
def test_values_that_would_end_the_process_are_not_given_to_it(bad: float) -> None:
    rows = drawn()
    rows[1, 3] = bad
    assert ggml_rounding.holds(rows).tolist() == [True, False, True, True]
    for kind in (KINDS.IQ3_S, KINDS.Q4_K):
        with pytest.raises(ValueError, match="expected finite rows of whole blocks of 256"):
            ggml_rounding.rounded(rows, kind)
    for importance in (np.full(256, bad), np.ones(255)):
        if not np.isfinite(bad) or bad < 0 or len(importance) < 256:
            with pytest.raises(ValueError, match="expected 256 finite mean squares"):
                ggml_rounding.rounded(drawn(), KINDS.Q4_K, importance)


def test_rows_that_are_no_whole_blocks() -> None:
    with pytest.raises(ValueError, match=r"whole blocks of 256, got shape \(4, 128\)"):
        ggml_rounding.rounded(drawn(columns=128), KINDS.Q4_K)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    ggml_rounding._library.cache_clear()
    yield monkeypatch
    ggml_rounding._library.cache_clear()


def test_without_a_library_it_says_what_to_install(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(ggml_rounding, "find_spec", lambda name: None)
    assert not ggml_rounding.has_library()
    with pytest.raises(MissingExtraError, match=r'"\.\[ggml\]"'):
        ggml_rounding.rounded(drawn(), KINDS.Q4_K)


def test_a_file_that_is_no_library_is_passed_over(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libggml" / "lib64").mkdir(parents=True)
    (tmp_path / "libggml" / "__init__.py").touch()
    (tmp_path / "libggml" / "lib64" / "libggml-base.so").write_bytes(b"none")
    fresh.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert next(ggml_rounding._files()).parent.name == "lib64"
    assert ggml_rounding.rounded(drawn(), KINDS.Q6_K).dtype == np.uint8
    assert "libggml" not in sys.modules
