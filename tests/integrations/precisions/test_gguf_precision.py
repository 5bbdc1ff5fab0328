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
    with pytest.raises(
        OptionError, match="precision 'gguf:q4_k': expected one of q8_0, .*can quantize no other.*'q4_k'"
    ):
        get_precision("gguf:q4_k")


def test_a_scale_beyond_fp16_is_not_finite_and_gives_no_warning() -> None:
    out = get_precision("gguf:q8_0").round_trip(torch.full((1, 32), 1e30), 1e30)
    assert not bool(torch.isfinite(out).any())


def test_without_gguf_it_says_what_to_install_and_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_integrations.precisions import gguf_precision

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gguf", None)
        with pytest.raises(MissingExtraError, match=r'gguf:q8_0 needs.*"\.\[gguf\]"'):
            gguf_precision.FAMILY.make(["q8_0"])
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert importlib.reload(gguf_precision).FAMILY.examples == ()
    assert importlib.reload(gguf_precision).FAMILY.examples == (("q8_0",), ("q4_0",))
