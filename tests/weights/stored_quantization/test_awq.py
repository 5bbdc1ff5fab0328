from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.weights.stored_quantization.matrices import LAYER, of_file, of_module, only, words

ROWS, COLUMNS, GROUP = 40, 64, 16
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def _packed(codes: Tensor) -> Tensor:
    """Pack rows of codes, the eight of a word in AWQ's order."""
    return words(torch.cat([block[:, ORDER] for block in codes.split(8, dim=1)], dim=1), 4)


def _stored() -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    codes, zeros = torch.randint(0, 16, (COLUMNS, ROWS)), torch.randint(0, 16, (COLUMNS // GROUP, ROWS))
    scales = (torch.rand(COLUMNS // GROUP, ROWS) + 0.5).half()
    expected = torch.empty(ROWS, COLUMNS)
    for j in range(COLUMNS):
        expected[:, j] = scales[j // GROUP].float() * (codes[j] - zeros[j // GROUP])
    names = {"qweight": _packed(codes), "qzeros": _packed(zeros), "scales": scales}
    return {f"{LAYER}.{name}": tensor for name, tensor in names.items()}, expected


AWQ: dict[str, Any] = {
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"}
}


@pytest.mark.parametrize(
    "config",
    [
        AWQ,
        {"quantization_config": {"quant_method": "awq", "version": "GEMM"}},
        {"quantization_config": {"quant_method": "auto-round", "packing_format": "auto_round:auto_awq"}},
        {"quantization_config": {"quant_method": "intel/auto-round", "backend": "auto_round:awq"}},
    ],
)
def test_weights_are_decoded(tmp_path: Path, config: dict[str, Any]) -> None:
    tensors, expected = _stored()
    weight = only(of_file(tmp_path, tensors, config))
    assert torch.equal(weight.rows(0, ROWS), expected)
    assert weight.stored_dtype == "AWQ 4-bit, group 16"
    assert torch.equal(only(of_module(tensors, config)).rows(0, ROWS), expected)


def test_compressed_tensors_decodes_the_same(tmp_path: Path) -> None:
    autoawq = pytest.importorskip("compressed_tensors.entrypoints.convert.converters.autoawq")
    tensors, expected = _stored()
    converter = autoawq.AutoAWQConverter(bits=4, group_size=GROUP)
    parts = [tensors[f"{LAYER}.{name}"] for name in ("qweight", "scales", "qzeros")]
    codes, scales, zeros = (part.float() for part in converter._convert_gemm_module(*parts))
    theirs = (codes - zeros.repeat_interleave(GROUP, 1)) * scales.repeat_interleave(GROUP, 1)
    assert torch.equal(only(of_file(tmp_path, tensors, AWQ)).rows(0, ROWS), theirs)
    assert torch.equal(theirs, expected)


@pytest.mark.parametrize("version", ["gemv", "gemv_fast", "llm-awq"])
def test_other_versions_are_refused_by_name(tmp_path: Path, version: str) -> None:
    tensors, _ = _stored()
    (weight,) = of_file(tmp_path, tensors, {"quantization_config": {"quant_method": "awq", "version": version}}).weights
    assert weight.layer_name == LAYER and f"AWQ {version.replace('awq', 'AWQ')} codes" in weight.unsupported
