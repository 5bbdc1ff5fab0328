from typing import Any

import pytest
import torch

from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions, pick_device


def test_names_become_canonical() -> None:
    options = AnalysisOptions(precisions=("float32", "half"), load_dtype="bfloat16")
    assert (options.precisions, options.load_dtype) == (("fp32", "fp16"), "bf16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_frac": 0}, "k_frac: expected a share between 0 and 1, got 0"),
        ({"k_frac": 1.0}, "k_frac"),
        ({"k_min": 0}, "k_min: expected at least 1"),
        ({"reuse_tol": -1}, "reuse_tol: expected 0 to 1"),
        ({"threshold": "middle"}, "threshold: expected one of next, last, got 'middle'"),
        ({"solver": "magic"}, "solver: expected one of exact, fast"),
        ({"include": "("}, "include: expected a regular expression"),
        ({"exclude": "["}, "exclude: expected a regular expression"),
        ({"precisions": ("fp1",)}, "precision"),
        ({"load_dtype": "x"}, "precision: expected one of"),
    ],
)
def test_bad_values_are_refused_at_once(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AnalysisOptions(**change)  # type: ignore[arg-type]


def test_selection() -> None:
    options = AnalysisOptions(include="attn", exclude=r"\.v_proj$")
    assert options.selects("layers.0.attn.q_proj")
    assert not options.selects("layers.0.attn.v_proj")
    assert not options.selects("layers.0.mlp.up_proj")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:99", ""])
def test_bad_devices(name: str) -> None:
    with pytest.raises(OptionError, match="device: expected"):
        pick_device(name)


def test_cpu_is_always_there() -> None:
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k_min": 1.5}, "k_min: expected a whole number, got 1.5"),
        ({"k_frac": "x"}, "k_frac: expected a number, got 'x'"),
        ({"k_min": True}, "k_min: expected a whole number, got True"),
        ({"precisions": ("fp32", torch.bfloat16)}, "precisions: expected names such as fp32, got torch.bfloat16"),
        ({"include": 5}, "include: expected a regular expression, got 5"),
        ({"include_embeddings": "no"}, "include_embeddings: expected true or false, got 'no'"),
        ({"adapters": "sum"}, "adapters: expected one of auto, base, merged, got 'sum'"),
    ],
)
def test_types(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AnalysisOptions(**options)
