from pathlib import Path

import pytest
import torch

from tests.weights.stored_quantization.matrices import LAYER, of_file, of_module, only

ROWS, COLUMNS = 32, 20


@pytest.mark.parametrize(("layers", "factor"), [("autobitlinear", 0.5), ("bitlinear", 2.0), (None, 2.0)])
def test_ternary_codes_are_decoded(tmp_path: Path, layers: str | None, factor: float) -> None:
    torch.manual_seed(0)
    ternary = torch.randint(-1, 2, (ROWS, COLUMNS))
    packed = torch.zeros(ROWS // 4, COLUMNS, dtype=torch.uint8)
    for i in range(ROWS):
        packed[i % 8] |= (ternary[i] + 1).to(torch.uint8) << 2 * (i // 8)
    tensors = {f"{LAYER}.weight": packed, f"{LAYER}.weight_scale": torch.tensor([0.5])}
    quantization = {"quant_method": "bitnet"} | ({"linear_class": layers} if layers else {})
    config = {"quantization_config": quantization}
    weight = only(of_file(tmp_path, tensors, config))
    assert torch.equal(weight.rows(0, ROWS), ternary * factor)
    assert torch.equal(only(of_module(tensors, config)).rows(0, ROWS), ternary * factor)
