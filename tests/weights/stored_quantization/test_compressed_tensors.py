"""Every format against compressed-tensors itself: what it stores, and what it makes of it again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.utils.name_patterns import PatternError
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.stored_quantization.compressed_tensors_config import _preset, _scheme, schemes_of
from tests.conftest import noise
from tests.weights.stored_quantization.sources import (
    OPTIONS,
    SOURCES,
    Source,
    assert_decoded,
    of_files,
    only,
    reasons,
)

library = pytest.importorskip("compressed_tensors.compressors")
quantization = pytest.importorskip("compressed_tensors.quantization")
SIZE = (72, 96)


def _int(bits: int, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": "int", "symmetric": True, **more}


def _float(bits: int, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": "float", "symmetric": True, **more}


GROUP: dict[str, Any] = {"strategy": "group", "group_size": 32}
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"int{bits} in groups": ("pack-quantized", _int(bits, **GROUP)) for bits in range(2, 9)},
    **{f"int{bits} with zero points": ("pack-quantized", _int(bits, **GROUP, symmetric=False)) for bits in (3, 4, 8)},
    "int4 per row": ("pack-quantized", _int(4, strategy="channel")),
    "int5 per row, zero points": ("pack-quantized", _int(5, strategy="channel", symmetric=False)),
    "int8 per row": ("int-quantized", _int(8, strategy="channel")),
    "int8 per tensor": ("int-quantized", _int(8, strategy="tensor")),
    "int8 with zero points": ("naive-quantized", _int(8, strategy="channel", symmetric=False)),
    "int4 in int8": ("naive-quantized", _int(4, **GROUP)),
    "fp8 per tensor": ("float-quantized", _float(8, strategy="tensor")),
    "fp8 per row": ("float-quantized", _float(8, strategy="channel")),
    "fp8 in blocks": ("float-quantized", _float(8, strategy="block", block_structure=[64, 64])),
    "nvfp4": (
        "nvfp4-pack-quantized",
        _float(4, strategy="tensor_group", group_size=16, scale_dtype="torch.float8_e4m3fn"),
    ),
    "mxfp4": ("mxfp4-pack-quantized", _float(4, **GROUP, scale_dtype="torch.uint8")),
    "mxfp6": ("mxfp6-pack-quantized", _float(6, **GROUP, scale_dtype="torch.uint8")),
    "mxfp8": ("mxfp8-quantized", _float(8, **GROUP, scale_dtype="torch.uint8")),
}


def _stored(label: str, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], dict[str, Any], Tensor]:
    """Return the tensors of a layer "fc" as the library stores them, its config, and what it decompresses."""
    form, args = FORMATS[label]
    shape = (70, 96) if args["strategy"] == "block" else SIZE
    weight = noise(*shape, seed=len(label)).to(dtype)
    weight[:32, :64] = 0  # blocks of zeros
    weight[0, 0] = 1e-3
    scheme = quantization.QuantizationScheme(
        targets=["Linear"], weights=quantization.QuantizationArgs(**args), format=form
    )
    compressor = library.BaseCompressor.get_value_from_registry(form)
    if args["type"] == "float" and args["num_bits"] < 8:
        state = _any_codes(args)  # the library compiles its rounding to these, which takes long; any bits are codes
    else:
        state = compressor.compress({"weight": weight, **_qparams(weight, scheme.weights, dtype)}, scheme)
    expected = compressor.decompress(dict(state), scheme)["weight"]
    group = {"targets": ["Linear"], "weights": dict(args), "format": form}
    config = {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}, "ignore": []}
    return {f"fc.{name}": tensor for name, tensor in state.items()}, {"quantization_config": config}, expected


def _any_codes(args: dict[str, Any]) -> dict[str, Tensor]:
    torch.manual_seed(args["num_bits"])
    packed = torch.randint(0, 256, (SIZE[0], SIZE[1] * args["num_bits"] // 8), dtype=torch.uint8)
    if args["strategy"] == "tensor_group":
        scale = (torch.rand(SIZE[0], SIZE[1] // 16) * 400).to(torch.float8_e4m3fn)
        return {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": torch.tensor([1234.5])}
    return {"weight_packed": packed, "weight_scale": torch.randint(100, 130, (SIZE[0], 3), dtype=torch.uint8)}


def _qparams(weight: Tensor, args: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    whole = generate_gparam(weight.min(), weight.max()) if args.strategy == "tensor_group" else None
    if args.strategy == "tensor":
        blocks = weight.reshape(1, -1)
    elif args.strategy == "channel":
        blocks = weight.unsqueeze(1)
    elif args.strategy == "block":
        padded = nn.functional.pad(weight, (0, -weight.shape[1] % 64, 0, -weight.shape[0] % 64))
        blocks = padded.reshape(len(padded) // 64, 64, -1, 64).transpose(1, 2).flatten(2)
    else:
        blocks = weight.reshape(len(weight), -1, args.group_size)
    scale, zero = calculate_qparams(*blocks.aminmax(dim=-1), args, global_scale=whole)
    found = {"weight_scale": scale if args.scale_dtype else scale.to(dtype)}
    if whole is not None:
        found["weight_global_scale"] = whole.reshape(1)
    return found if args.symmetric else {**found, "weight_zero_point": zero.to(torch.int8)}


@pytest.mark.parametrize("label", FORMATS)
def test_each_format_is_what_the_library_decompresses(tmp_path: Path, label: str) -> None:
    tensors, config, expected = _stored(label)
    inventory = of_files(tmp_path, tensors, config)
    assert_decoded(inventory, {"fc": expected})
    assert "compressed-tensors, scale per" in only(inventory).stored_dtype
    assert all(" of fc" in reason for reason in reasons(inventory).values())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", ["int3 with zero points", "fp8 in blocks", "nvfp4"])
def test_files_and_live_modules_are_read_alike(tmp_path: Path, source: Source, label: str) -> None:
    tensors, config, expected = _stored(label)
    assert_decoded(source(tmp_path, tensors, config), {"fc": expected})


@pytest.mark.parametrize("label", ["int4 in groups", "int8 with zero points", "fp8 per row", "fp8 in blocks"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_are_rounded_as_the_library_rounds_them(tmp_path: Path, label: str, dtype: torch.dtype) -> None:
    tensors, config, expected = _stored(label, dtype)
    assert expected.dtype == dtype
    assert_decoded(of_files(tmp_path, tensors, config), {"fc": expected})


@pytest.mark.parametrize("label", ["int4 in groups", "int3 with zero points", "nvfp4", "mxfp4", "mxfp6"])
def test_packed_tensors_speak_for_themselves(tmp_path: Path, label: str) -> None:
    tensors, _, expected = _stored(label)
    assert_decoded(of_files(tmp_path, tensors, {}), {"fc": expected})


def test_columns_in_the_order_of_activations(tmp_path: Path) -> None:
    tensors, config, expected = _stored("int4 in groups")
    groups = torch.arange(96) % 3
    tensors["fc.weight_g_idx"] = groups.int()
    scale = tensors["fc.weight_scale"]
    codes = expected / scale.repeat_interleave(32, 1)
    decoded = torch.where(scale[:, groups] == 0, 0, codes.round() * scale[:, groups])
    assert_decoded(of_files(tmp_path, tensors, config), {"fc": decoded})
    tensors["fc.weight_g_idx"] = torch.full((96,), -1, dtype=torch.int32)
    (other := tmp_path / "unused").mkdir()
    assert_decoded(of_files(other, tensors, config), {"fc": expected})


def test_compressed_modules_of_a_live_model() -> None:
    model = nn.Sequential(nn.Linear(96, 64, bias=False))
    group = quantization.QuantizationScheme(
        targets=["Linear"], weights=quantization.QuantizationArgs(**_int(4, **GROUP)), format="pack-quantized"
    )
    config = quantization.QuantizationConfig(config_groups={"group_0": group}, format="pack-quantized")
    quantization.apply_quantization_config(model, config, show_progress=False)
    weight = model[0].weight.detach()
    model[0].weight_scale.data.copy_(_qparams(weight, group.weights, torch.float32)["weight_scale"])
    library.compress_module(model[0])
    assert not hasattr(model[0], "weight")
    found = only(module_inventory(model, OPTIONS)).rows(0, 64)
    library.decompress_module(model[0])
    assert torch.equal(found, model[0].weight)


def _changed(label: str, **args: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, config, _ = _stored(label)
    config["quantization_config"]["config_groups"]["group_0"]["weights"] |= args
    return tensors, config


def test_a_config_that_contradicts_the_tensors_is_refused(tmp_path: Path) -> None:
    for i, (label, args, reason) in enumerate(
        (
            ("int4 in groups", {"num_bits": 8}, "int8 packed into shape (72, 12)"),
            ("int4 in groups", {"group_size": 16}, "says int4 per group of 16"),
            ("int8 per row", {"strategy": "tensor"}, "says int8 per tensor"),
            ("fp8 per row", {"type": "int"}, "says int8 per channel"),
            ("fp8 in blocks", {"block_structure": [32, 32]}, "says float8 per block of 32x32"),
            ("int4 in groups", {"symmetric": False}, "without the zero points"),
            ("int4 in groups", {"strategy": "new"}, "a scheme that is not known"),
        )
    ):
        tensors, config = _changed(label, **args)
        (folder := tmp_path / str(i)).mkdir()
        inventory = of_files(folder, tensors, config)
        assert reason in only(inventory).unsupported, label
        assert reasons(inventory)["fc.weight_scale"] == "scales of fc"


def test_what_the_library_no_longer_reads_is_named(tmp_path: Path) -> None:
    words = torch.ones(64, 16, dtype=torch.int32)
    cases = {
        "sparse": (
            {"fc.compressed": torch.ones(64, 48), "fc.bitmask": words.to(torch.uint8), "fc.shape": torch.ones(2)},
            "sparse",
        ),
        "marlin": (
            {"fc.weight_packed": words, "fc.scale_packed": torch.ones(2, 64), "fc.meta": words.short()},
            "marlin-24",
        ),
        "more": (
            {"fc.weight_packed": words, "fc.weight_scale": torch.ones(64, 1), "fc.weight_new": words},
            "weight_new",
        ),
        "alone": ({"fc.weight_packed": words}, "whose scales are not in the files read"),
    }
    for name, (tensors, reason) in cases.items():
        (folder := tmp_path / name).mkdir()
        config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "new"}}
        inventory = of_files(folder, tensors, config)
        weight = only(inventory)
        assert weight.layer_name == "fc" and reason in weight.unsupported
        assert weight.unsupported.startswith("quantized: compressed-tensors, ")
        assert all(" of fc" in why for why in reasons(inventory).values())


def test_each_module_has_the_scheme_of_its_own_group(tmp_path: Path) -> None:
    small, config, of_small = _stored("int4 in groups")
    wide, other, of_wide = _stored("int8 per row")
    groups = {"a": config["quantization_config"]["config_groups"]["group_0"] | {"targets": ["re:.*down_proj$"]}}
    groups["b"] = other["quantization_config"]["config_groups"]["group_0"]
    about = {**config["quantization_config"], "format": "mixed-precision", "config_groups": groups}
    tensors = {name.replace("fc", "mlp.down_proj"): tensor for name, tensor in small.items()}
    tensors |= {name.replace("fc", "mlp.up_proj"): tensor for name, tensor in wide.items()}
    tensors["lm_head.weight"] = torch.ones(32, 32)
    inventory = of_files(tmp_path, tensors, {"quantization_config": {**about, "ignore": ["lm_head"]}})
    expected = {"mlp.down_proj": of_small, "mlp.up_proj": of_wide, "lm_head": tensors["lm_head.weight"]}
    found = {weight.layer_name: weight for weight in inventory.weights}
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight.rows(0, weight.out_features), expected[name])


def test_targets_are_names_patterns_or_classes() -> None:
    def group(bits: int, *targets: str) -> dict[str, Any]:
        return {"targets": list(targets), "weights": _int(bits, strategy="channel")}

    groups = {
        "a": group(8, "Linear"),
        "b": group(4, "re:model.*q_proj"),
        "c": group(3, "model.q_proj"),
        "W5A16": ["fc"],
    }
    for name, bits in (("model.q_proj", 3), ("model.2.q_proj", 4), ("other.k_proj", 8), ("fc", 5)):
        (scheme,) = schemes_of(name, {"config_groups": groups})
        assert scheme is not None and scheme.bits == bits
    assert list(schemes_of("x", {"config_groups": {"new": ["Linear"]}})) == [None]
    with pytest.raises(PatternError):
        list(schemes_of("x", {"config_groups": {"a": group(4, "re:(")}}))


@pytest.mark.parametrize("where", ["targets", "ignore"])
@pytest.mark.parametrize("pattern", ["((f?){99}){99}!", r"(f)\1"])
def test_a_pattern_that_cannot_be_matched_refuses_the_layer(tmp_path: Path, where: str, pattern: str) -> None:
    tensors, config, _ = _stored("int4 in groups")
    long = {name.replace("fc", "f" * 200): tensor for name, tensor in tensors.items()}
    about = config["quantization_config"]
    (about["config_groups"]["group_0"] if where == "targets" else about)[where] = [f"re:{pattern}"]
    assert "quantized: compressed-tensors, with the pattern" in only(of_files(tmp_path, long, config)).unsupported


def test_presets_are_those_of_the_library() -> None:
    from compressed_tensors.quantization.quant_scheme import PRESET_SCHEMES

    for name, preset in PRESET_SCHEMES.items():
        if "weights" in preset:
            assert _scheme(_preset(name)) == _scheme(preset["weights"].model_dump()), name
