"""Quantized parameters of live models are decoded as those of files, and the models stay as they are."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))
ROWS, COLUMNS = 64, 128


def _weights(model: nn.Module, **options: Any) -> dict[str, Weight]:
    chosen = AnalysisOptions(precisions=("fp32",), **options)
    return {weight.layer_name: weight for weight in module_inventory(model, chosen).weights}


def _whole(weight: Weight) -> Tensor:
    """Return the matrix, read in pieces."""
    assert weight.unsupported == ""
    return torch.cat([weight.rows(start, min(start + 9, ROWS)) for start in range(0, ROWS, 9)])


@pytest.mark.parametrize("double", [False, True])
def test_qlora_before_and_after_it_has_run(double: bool) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(COLUMNS, ROWS, bias=False, quant_type="nf4", compress_statistics=double)
    layer.weight = bitsandbytes.nn.Params4bit(noise(ROWS, COLUMNS), quant_type="nf4", compress_statistics=double)
    model = nn.Sequential(layer).to("cpu").eval()
    expected = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    before = _weights(model)["0"]
    assert torch.equal(_whole(before), expected) and before.stored_dtype.startswith("bitsandbytes nf4, block 64")
    with torch.no_grad():
        model(torch.randn(2, COLUMNS))
    after = _weights(model)["0"]
    scale = expected.abs().max()
    assert torch.allclose(_whole(after).float(), expected, rtol=0, atol=float(scale) * 2**-8)


def test_weights_repacked_for_a_cpu() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    if not hasattr(functional, "_convert_weight_packed_for_cpu"):
        pytest.skip("this bitsandbytes does not repack")
    codes, state = functional.quantize_4bit(noise(ROWS, COLUMNS), blocksize=64, quant_type="nf4")
    levels = functional.dequantize_4bit(codes, state) / state.absmax.repeat_interleave(64).view(ROWS, COLUMNS)
    packed, repacked = functional._convert_weight_packed_for_cpu(codes, state)
    layer = nn.Module()
    layer.weight = nn.Parameter(packed, requires_grad=False)
    layer.weight.quant_state = repacked  # type: ignore[attr-defined]
    scales = repacked.absmax.T.float().repeat_interleave(64, dim=1)
    assert torch.allclose(_whole(_weights(nn.Sequential(layer))["0"]).float(), levels * scales, rtol=2**-8)


def test_int8_before_and_after_it_has_run() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear8bitLt(COLUMNS, ROWS, bias=False, has_fp16_weights=False)
    layer.weight = bitsandbytes.nn.Int8Params(noise(ROWS, COLUMNS), has_fp16_weights=False, requires_grad=False)
    model = nn.Sequential(layer).to("cpu")
    expected = layer.weight.CB.float() * layer.weight.SCB[:, None] / 127
    assert torch.equal(_whole(_weights(model)["0"]), expected)
    with torch.no_grad():
        model(torch.randn(2, COLUMNS).half())
    assert torch.equal(_whole(_weights(model)["0"]), expected)


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_is_added_to_the_decoded_base(dora: bool) -> None:
    bitsandbytes, peft = pytest.importorskip("bitsandbytes"), pytest.importorskip("peft")
    layer = bitsandbytes.nn.Linear4bit(COLUMNS, ROWS, bias=False, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(noise(ROWS, COLUMNS), quant_type="nf4")
    model = nn.Sequential(layer).to("cpu")
    base = _whole(_weights(model)["0"])
    config = peft.LoraConfig(r=4, target_modules=["0"], init_lora_weights=False, use_dora=dora)
    adapted = peft.inject_adapter_in_model(config, model)
    assert torch.equal(_whole(_weights(adapted, adapters="base")["0"]), base)
    merged = _weights(adapted, adapters="merged")["0"]
    if dora:
        assert "quantized, so not merged" in merged.unsupported
    else:
        assert torch.allclose(_whole(merged), base + adapted[0].get_delta_weight("default"))
        assert merged.stored_dtype == "bitsandbytes nf4, block 64, double quantization, and its adapter"


def _torchao_configs() -> dict[str, Any]:
    quantization = pytest.importorskip("torchao.quantization")
    granularity = pytest.importorskip("torchao.quantization.granularity")
    return {
        "int8": quantization.Int8WeightOnlyConfig(),
        "float8": quantization.Float8WeightOnlyConfig(),
        "intx": quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity.PerGroup(32)),
    }


@pytest.mark.parametrize("kind", ["int8", "float8", "intx"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_torchao_parameters(kind: str, dtype: torch.dtype) -> None:
    config = _torchao_configs()[kind]
    model = nn.Sequential(nn.Linear(COLUMNS, ROWS, bias=False)).to(dtype)
    with torch.no_grad():
        model[0].weight.copy_(noise(ROWS, COLUMNS))
    pytest.importorskip("torchao.quantization").quantize_(model, config)
    weight = _weights(model)["0"]
    theirs = model[0].weight.dequantize()
    assert torch.equal(_whole(weight), theirs.detach()) and weight.dtype is dtype
    assert weight.stored_dtype.startswith(f"torchao {type(model[0].weight).__name__} (")
    assert set(model.state_dict()) == {"0.weight"}


class _Opaque(nn.Module):
    """A module whose parameter is a tensor subclass that only its library can decode."""

    def __init__(self) -> None:
        super().__init__()
        nf4 = pytest.importorskip("torchao.quantization.quantize_.workflows.nf4.nf4_tensor")
        self.weight = nn.Parameter(nf4.to_nf4(noise(ROWS, COLUMNS), 64, 1), requires_grad=False)


def test_another_subclass_is_decoded_by_itself_or_refused() -> None:
    weight = _weights(nn.Sequential(_Opaque()))["0"]
    assert weight.unsupported or weight.rows(0, ROWS).shape == (ROWS, COLUMNS)
    assert "NF4Tensor" in (weight.unsupported or weight.stored_dtype)


def test_hqq_and_gptqmodel_modules_say_how_they_are_packed() -> None:
    hqq = nn.Module()
    codes = torch.randint(0, 16, (ROWS * COLUMNS // 64, 64), dtype=torch.uint8)
    half = len(codes) // 2
    hqq.W_q = nn.Parameter(codes[:half] << 4 | codes[half:], requires_grad=False)
    scale, zero = torch.rand(len(codes), 1) + 0.5, torch.rand(len(codes), 1)
    hqq.meta = {"nbits": 4, "group_size": 64, "axis": 1, "shape": torch.Size((ROWS, COLUMNS)), "packing": "4bit_u8"}
    hqq.meta |= {"scale": scale, "zero": zero, "view_as_float": False, "compute_dtype": torch.float32}
    assert torch.equal(_whole(_weights(nn.Sequential(hqq))["0"]), ((codes - zero) * scale).reshape(ROWS, COLUMNS))

    class Converted(nn.Module):
        """GPTQModel adds one to zero points of the first version when its kernel wants the second."""

        def qzero_format(self) -> int:
            return 2

    gptq = Converted()
    gptq.register_buffer("qweight", torch.zeros(COLUMNS // 8, ROWS, dtype=torch.int32))
    gptq.register_buffer("qzeros", torch.full((1, ROWS // 8), 0x33333333, dtype=torch.int32))
    gptq.register_buffer("scales", torch.ones(1, ROWS).half())
    model = nn.Sequential(gptq)
    model.config = type("Config", (), {"to_dict": lambda _: {"quantization_config": {"quant_method": "gptq"}}})()
    assert bool((_whole(_weights(model)["0"]) == -3).all())


@pytest.mark.parametrize("kernel", ["ExllamaV2QuantLinear", "MarlinQuantLinear", "WQLinear_IPEX"])
def test_integers_that_a_kernel_has_put_into_its_order_are_refused(kernel: str) -> None:
    layer = type(kernel, (nn.Module,), {})()
    layer.register_buffer("qweight", torch.zeros(COLUMNS // 8, ROWS, dtype=torch.int32))
    layer.register_buffer("qzeros", torch.zeros(1, ROWS // 8, dtype=torch.int32))
    layer.register_buffer("scales", torch.ones(1, ROWS).half())
    model = nn.Sequential(layer)
    for config in ({"quantization_config": {"quant_method": "gptq"}}, {}):
        model.config = type("Config", (), {"to_dict": lambda _, config=config: config})()
        weights = _weights(model)
        assert list(weights) == ["0"] and weights["0"].unsupported
        assert not config or f"in the order of the kernel of {kernel}" in weights["0"].unsupported
