import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import alpha_callbacks
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import write_model
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.module_weights import module_inventory
from tests.support.plan_examples import plan_of

pytest.importorskip("torchao")
transformers = pytest.importorskip("transformers")

TINY = Path(alpha_callbacks.__file__).parent / "assets" / "tiny_llama"
IDS = torch.arange(3, 60).reshape(3, 19)
MIX = ("int4", "int8", "fp8", "nvfp4", "bf16", "e5m2", "int3", "fp8:tensor", "int8:g32", "int4:asym", "int4:channel")
LAYERS = open_checkpoint(TINY).inventory(AnalysisOptions()).weights


def mixed_plan() -> Plan:
    names = [get_precision(MIX[i % len(MIX)]).name for i in range(len(LAYERS) - 1)]
    choices = zip(layers_of(LAYERS), [*names, "int8"], strict=True)  # the head is not left out
    return Plan(tuple(replace(layer, precision=name) for layer, name in choices))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the folder, the model in memory before it was saved, and the one that is read."""
    out, kept = tmp_path_factory.mktemp("written") / "model", []
    original = transformers.PreTrainedModel.save_pretrained

    def save(self: Any, *args: Any, **kwargs: Any) -> None:
        kept.append(copy.deepcopy(self))
        original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.PreTrainedModel, "save_pretrained", save)
        notes = write_model(TINY, mixed_plan(), out, "torchao")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    return {"out": out, "memory": kept[0], "loaded": loaded, "notes": notes}


def test_logits_are_those_of_the_model_before_it_was_saved(written: dict[str, Any]) -> None:
    found = logits(written["loaded"])
    assert float((found - logits(written["memory"])).abs().max()) == 0.0 and float(found.abs().max()) > 1


# precision -> largest relative distance |read - ours| / |ours|; torchao computes in bf16, so that more weights change
# their code than by rounding the scales alone.
DISTANCE = {
    "bf16": 0, "nvfp4": 0.003, "int8": 0.008, "int8_g32": 0.008, "int4_g32": 0.04, "int4_channel": 0.04,
    "int4_g32_asym": 0.04, "int3_g32": 0.09, "fp8_e4m3": 0.015, "fp8_e4m3_tensor": 0.015, "fp8_e5m2": 0.02,
}  # fmt: skip


def test_what_is_read_is_what_was_measured(written: dict[str, Any]) -> None:
    seen = set()
    for choice, source in zip(mixed_plan().choices, LAYERS, strict=True):
        weight = source.rows(0, source.out_features).float()
        stored = written["loaded"].get_submodule(choice.layer_name).weight
        read = (stored.dequantize() if choice.low_bit else stored).detach().float()
        ours = choice.format.round_trip(weight, float(weight.abs().max())).float()
        assert float((read - ours).norm() / ours.norm()) <= DISTANCE[choice.precision], choice
        error, expected = float((read - weight).norm() / weight.norm()), float((ours - weight).norm() / weight.norm())
        assert error == pytest.approx(expected, rel=0.06, abs=1e-4), choice  # int8: 0.0064 for 0.0061
        seen.add(choice.precision)
    assert seen == set(DISTANCE)


def test_a_scan_reads_what_was_written(written: dict[str, Any]) -> None:
    """Of files and of the live model: bit for bit what torchao decodes, in every format."""
    scanned = {
        weight.layer_name: weight for weight in open_checkpoint(written["out"]).inventory(AnalysisOptions()).weights
    }
    live = {weight.layer_name: weight for weight in module_inventory(written["loaded"], AnalysisOptions()).weights}
    for choice in mixed_plan().choices:
        stored = written["loaded"].get_submodule(choice.layer_name).weight
        read = (stored.dequantize() if choice.low_bit else stored).detach()
        for weight in (scanned.pop(choice.layer_name), live.pop(choice.layer_name)):
            assert torch.equal(weight.rows(0, weight.out_features), read), (choice, weight.unsupported)
            assert weight.stored_dtype.startswith("torchao") == choice.low_bit
    assert not scanned and not live


def test_the_folder_is_a_whole_model(written: dict[str, Any]) -> None:
    assert {file.name for file in written["out"].iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    config = json.loads((written["out"] / "config.json").read_text())["quantization_config"]
    entries = config["quant_type"]["default"]["_data"]["fqn_to_config"]
    assert {name for name, entry in entries.items() if entry} == {
        choice.layer_name for choice in mixed_plan().choices if choice.low_bit
    }


def test_notes(written: dict[str, Any]) -> None:
    assert written["notes"] == (
        "Weights were cast to bfloat16 and quantized in it, scales too; they were measured with fp32 scales.",
    )


def test_settings_of_torch_stay_as_they_are(tmp_path: Path) -> None:
    before = torch.get_float32_matmul_precision()  # set_inductor_config would change it
    write_model(TINY, mixed_plan(), tmp_path / "out", "torchao")
    assert torch.get_float32_matmul_precision() == before


def test_a_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    first, *rest = mixed_plan().choices
    with pytest.raises(PlanError, match=r"model\.layers\.7\.fc: expected a module of the model, found none"):
        write_model(TINY, Plan((replace(first, layer_name="model.layers.7.fc"), *rest)), tmp_path / "out", "torchao")
    assert list(tmp_path.iterdir()) == []


def test_a_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"m\.gguf: expected a checkpoint folder, got a GGUF file"):
        write_model(tmp_path / "m.gguf", plan_of({"fc": "int8"}), tmp_path / "out", "torchao")
