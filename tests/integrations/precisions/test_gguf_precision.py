import importlib
import importlib.util
import sys

import numpy as np
import pytest
import torch

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.precisions.registry import get_precision
from tests.support.format_oracles import SAMPLES, gguf_kind, mismatches

pytest.importorskip("gguf")

NAMES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4", "tq2_0", "tq1_0")


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_gguf_itself(name: str, sample: str) -> None:
    w = SAMPLES[sample]()
    out = get_precision(f"gguf:{name}").round_trip(w, float(w.abs().max()))
    assert out.dtype is torch.float32
    assert mismatches(out, gguf_kind(w, name.upper())) == 0


@pytest.mark.parametrize("sample", SAMPLES)
def test_q8_0_by_hand(sample: str) -> None:
    w = SAMPLES[sample]()
    blocks = w.numpy().reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    codes = np.trunc(blocks * inverse + np.copysign(np.float32(0.5), blocks))  # half away from zero, as C's roundf
    by_hand = (codes * scale.astype(np.float16).astype(np.float32)).reshape(512, 512)
    assert mismatches(get_precision("gguf_q8_0").round_trip(w, 1.0), torch.from_numpy(by_hand)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_costs_what_gguf_stores(name: str) -> None:
    import gguf

    kind = gguf.GGMLQuantizationType[name.upper()]
    stored = gguf.quantize(np.ones((8, 512), np.float32), kind).nbytes
    precision = get_precision(f"gguf_{name}")
    assert precision.effective_bits(8, 512) == precision.bits == 8 * stored / (8 * 512)
    assert 512 % precision.column_multiple == 0


def test_bits_as_llama_cpp_states_them() -> None:
    bits = {name: get_precision(f"gguf_{name}").bits for name in NAMES[:6]}
    assert bits == {"q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0, "q4_0": 4.5, "mxfp4": 4.25}


def test_q8_0_is_the_default() -> None:
    assert get_precision("gguf").name == "gguf_q8_0"
    assert get_precision("GGUF:Q4_0").name == "gguf_q4_0"


def test_only_what_gguf_can_quantize() -> None:
    with pytest.raises(OptionError, match="precision 'gguf:iq1_s': expected one of q8_0, .*no other can be.*'iq1_s'"):
        get_precision("gguf:iq1_s")


@pytest.mark.parametrize(
    ("name", "bits", "multiple"),
    [("q4_k", 4.5, 256), ("q6_k", 6.5625, 256), ("iq4_xs", 4.25, 256), ("iq4_nl", 4.5, 32)],
)
def test_types_that_ggml_itself_quantizes(name: str, bits: float, multiple: int) -> None:
    import gguf

    pytest.importorskip("xllamacpp")
    from alpha_integrations import ggml_rounding

    precision, kind = get_precision(f"gguf:{name}"), gguf.GGMLQuantizationType[name.upper()]
    assert precision.name == f"gguf_{name}" and precision.bits == bits and precision.column_multiple == multiple
    assert precision.fits(512) and not precision.fits(576 + 16) and precision.same_as == "llama.cpp"
    w = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32))
    out = precision.round_trip(w, 1.0)
    assert np.array_equal(out.numpy(), gguf.dequantize(ggml_rounding.rounded(w.numpy(), kind), kind))
    w[1, 7] = 1e30  # ggml would end the process with some types
    wide = precision.round_trip(w, 1e30)
    assert bool(torch.isinf(wide[1]).all()) and torch.equal(wide[[0, 2]], out[[0, 2]])


def test_without_ggml_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_integrations import ggml_rounding
    from alpha_integrations.precisions import gguf_precision

    monkeypatch.setattr(ggml_rounding, "has_library", lambda: False)
    with pytest.raises(MissingExtraError, match=r'gguf:q4_k needs.*"\.\[ggml\]"'):
        gguf_precision.FAMILY.make(["q4_k"])


def test_a_scale_beyond_fp16_is_not_finite_and_gives_no_warning() -> None:
    out = get_precision("gguf:q8_0").round_trip(torch.full((1, 32), 1e30), 1e30)
    assert not bool(torch.isfinite(out).any())


def test_without_gguf_it_says_what_to_install_and_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_integrations.precisions import gguf_precision

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gguf", None)
        with pytest.raises(MissingExtraError, match=r'gguf:q8_0 needs.*"\.\[gguf\]"'):
            gguf_precision.FAMILY.make(["q8_0"])
        with pytest.raises(MissingExtraError, match=r'gguf:q4_k needs.*"\.\[ggml\]"'):  # which brings gguf
            gguf_precision.FAMILY.make(["q4_k"])
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert importlib.reload(gguf_precision).FAMILY.examples == ()
    assert importlib.reload(gguf_precision).FAMILY.examples == (("q8_0",), ("q4_0",))
