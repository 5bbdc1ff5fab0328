from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.weights.stored_quantization.matrices import LAYER, of_file, of_module, reasons


def _ints(*shape: int, dtype: torch.dtype = torch.int16) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


STORED: dict[str, dict[str, Tensor]] = {
    "AQLM": {"codes": _ints(64, 8, 1), "codebooks": torch.rand(1, 256, 1, 8), "scales": torch.ones(64, 1, 1, 1)},
    "EXL2": {"q_weight": _ints(8, 64, dtype=torch.int32), "q_scale": _ints(4, 8), "q_invperm": _ints(64)},
    "EXL3": {"trellis": _ints(4, 4, 64), "suh": torch.ones(64), "svh": torch.ones(64)},
    "QTIP": {"trellis": _ints(4, 64), "SU": torch.ones(64), "SV": torch.ones(64)},
    "QuIP#": {"Qidxs": _ints(64, 8), "SU": torch.ones(64), "SV": torch.ones(64), "codebook_id": _ints(1)},
    "VPTQ": {"indices": _ints(1, 8, 64), "centroids.weight": torch.rand(16, 64), "weight_scale": torch.ones(64)},
    "SpQR": {"dense_weights": _ints(64, 8), "row_offsets": _ints(65), "col_vals": _ints(9)},
    "SVDQuant": {
        "qweight": _ints(64, 32, dtype=torch.int8),
        "wscales": torch.ones(1, 64),
        "lora_up": torch.rand(64, 16),
    },
    "FP-Quant": {"qweight": _ints(64, 32), "scales": torch.ones(64, 2), "forward_hadamard_matrix": torch.rand(32, 32)},
    "SqueezeLLM": {"qweight": _ints(8, 64, dtype=torch.int32), "lookup_table": torch.rand(64, 16)},
    "HIGGS": {
        "weight": _ints(32, 64),
        "scales": torch.rand(64, 8),
        "tables": torch.rand(16),
        "tables2": torch.rand(16, 16),
    },
    "Marlin": {"B": _ints(4, 128, dtype=torch.int32), "s": torch.rand(4, 64).half(), "workspace": _ints(8)},
    "EETQ": {"weight": _ints(64, 64, dtype=torch.int8), "weight_scales": torch.ones(64)},
    "SINQ": {"W_q": _ints(32, 64, dtype=torch.uint8), "scale": torch.rand(64, 1), "scale2": torch.rand(1, 64)},
}


@pytest.mark.parametrize("method", STORED)
def test_one_row_names_the_method(tmp_path: Path, method: str) -> None:
    tensors = {f"{LAYER}.{name}": tensor for name, tensor in STORED[method].items()}
    tensors |= {f"{LAYER}.bias": torch.ones(64), "lm_head.weight": torch.rand(64, 64)}
    for inventory in (of_file(tmp_path, tensors, {}), of_module(tensors, {})):
        refused, head = sorted(inventory.weights, key=lambda weight: weight.unsupported == "")
        assert (refused.layer_name, head.layer_name, head.unsupported) == (LAYER, "lm_head", "")
        assert f"stored as {method}" in refused.unsupported
        rest = {name: why for name, why in reasons(inventory).items() if name != "bias"}
        assert len(rest) == len(STORED[method]) - 1 and all(why.endswith(f"of {LAYER}") for why in rest.values())


def test_float_weights_with_such_neighbours_are_weights(tmp_path: Path) -> None:
    tensors = {f"{LAYER}.weight": torch.rand(64, 64), f"{LAYER}.weight_scales": torch.ones(64)}
    (weight,) = of_file(tmp_path, tensors, {}).weights
    assert weight.unsupported == ""


def test_codes_beside_a_plain_weight_are_two_layers(tmp_path: Path) -> None:
    """The weight was once left out as "same storage" of the codes, which it is not. Both have the same path."""
    tensors = {f"{LAYER}.qweight": _ints(8, 64, dtype=torch.int32), f"{LAYER}.qzeros": _ints(1, 8, dtype=torch.int32)}
    tensors |= {f"{LAYER}.scales": torch.ones(1, 64).half(), f"{LAYER}.weight": torch.rand(64, 64)}
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}}
    for source in (lambda: of_file(tmp_path, tensors, config), lambda: of_module(tensors, config)):
        found = source()
        assert [weight.layer_name for weight in found.weights] == [LAYER, f"{LAYER} (2)"]
        assert {weight.stored_dtype[:4] for weight in found.weights} == {"GPTQ", "floa"}
        assert "under their own path" in found.notes[0]
