"""Exports under the names of real architectures: what each target's own code finds, against what we say it finds."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from alpha_integrations.quantizers.loaded_model import LoadedModel
from torch import nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import Coverage, Export, export_plan
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.write_model import write_model
from alpha_callbacks.utils import plugins
from tests.support.architectures import BUILD, choices_of, save_architecture

transformers = pytest.importorskip("transformers")

SIX = ("llama", "gemma3", "mixtral", "deepseek_v3", "qwen3_vl", "opt")
STACKED = ("mixtral", "deepseek_v3")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("architectures")
    return {name: save_architecture(name, root / name) for name in BUILD}


def plan(folder: Path, precision: str, *, keep: str = r"lm_head|\.gate$|in_proj|embedding|position|projection") -> Plan:
    """Return a plan as `recommend` makes it: everything below 16 bits but what is kept by rule or by --keep."""
    return Plan(tuple(_choice(c, precision, keep) for c in choices_of(folder)), model=str(folder))


def _choice(choice: Choice, precision: str, keep: str) -> Choice:
    wide = choice.tied_to or choice.category in ("conv", "moe_router") or re.search(keep, choice.layer_name)
    return choice if wide else replace(choice, precision=precision)


def loaded(folder: Path) -> Any:
    config = transformers.AutoConfig.from_pretrained(folder)
    return getattr(transformers, config.architectures[0]).from_pretrained(folder)


def numel(model: nn.Module, names: Iterable[str]) -> int:
    modules: list[Any] = [model.get_submodule(name) for name in names]
    return sum(module.in_features * module.out_features for module in modules)


def covered(export: Export) -> Coverage:
    assert export.coverage is not None and not any("not at hand" in note for note in export.notes)
    return export.coverage


@pytest.mark.parametrize("name", SIX)
def test_compressed_tensors_finds_what_is_said(name: str, folders: dict[str, Path]) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    wanted = plan(folders[name], "int8")
    export = export_plan(wanted, "compressed-tensors")
    config = {**json.loads(export.text), "quantization_status": "initialized"}
    model = loaded(folders[name])
    apply_quantization_config(model, QuantizationConfig.model_validate(config), show_progress=False)
    found = [path for path, module in model.named_modules() if getattr(module, "quantization_scheme", None)]
    coverage = covered(export)
    assert numel(model, found) == coverage.reached
    assert (coverage.reached < coverage.planned) == (name in (*STACKED, "gemma3"))
    targets = {target for group in config["config_groups"].values() for target in group["targets"]}
    assert {choice.layer_name for choice in wanted.choices if choice.low_bit and not _left(choice)} <= targets  # vLLM


def _left(choice: Choice) -> bool:
    """Return True for parts of a fused matrix, and for nn.MultiheadAttention, which reads weights past their layers."""
    return choice.layer_name.rpartition(".")[2] in ("q", "k", "v") or ".head.attention." in choice.layer_name


@pytest.mark.parametrize("name", [*SIX, "gpt_neox"])
def test_torchao_finds_what_is_said(name: str, folders: dict[str, Path]) -> None:
    pytest.importorskip("torchao")
    from torchao.core.config import config_from_dict
    from torchao.utils import TorchAOBaseTensor

    export = export_plan(plan(folders[name], "int8"), "torchao")
    config = transformers.TorchAoConfig(config_from_dict(json.loads(export.text)), modules_to_not_convert=[])
    family = getattr(transformers, transformers.AutoConfig.from_pretrained(folders[name]).architectures[0])
    model = family.from_pretrained(folders[name], quantization_config=config, dtype=torch.bfloat16)
    found = [path for path, m in model.named_modules() if isinstance(getattr(m, "weight", None), TorchAOBaseTensor)]
    coverage = covered(export)
    # Without entries for the layers to keep, transformers asks torchao about each of their weights, and gets a no.
    assert numel(model, found) == coverage.reached
    assert (coverage.reached < coverage.planned) == (name in STACKED)


@pytest.mark.parametrize("name", SIX)
def test_bitsandbytes_finds_what_is_said(name: str, folders: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import HfQuantizer

    export = export_plan(plan(folders[name], "nf4"), "bitsandbytes")
    config = transformers.BitsAndBytesConfig(**json.loads(export.text))
    model: Any = loaded(folders[name])
    skip = HfQuantizer.get_modules_to_not_convert(model, config.llm_int8_skip_modules)
    model = replace_with_bnb_linear(model, modules_to_not_convert=skip, quantization_config=config)
    found = [path for path, module in model.named_modules() if type(module).__name__ == "Linear4bit"]
    assert numel(model, found) == covered(export).reached


# Linear layers of expert 0 in the last block after `linearize_moe` of llm-compressor 0.14.0.1, on models of these
# families: print([name for name, m in linearize_moe(model).named_modules() if isinstance(m, torch.nn.Linear)]).
LINEARIZED = {
    name: {f"model.layers.1.mlp.experts.0.{part}_proj" for part in ("gate", "up", "down")} for name in STACKED
}


@pytest.mark.parametrize("name", SIX)
def test_llm_compressor_finds_what_is_said(name: str, folders: dict[str, Path]) -> None:
    yaml = pytest.importorskip("yaml")
    export = export_plan(plan(folders[name], "int8"), "llm-compressor")
    groups = yaml.safe_load(export.text)["quant_stage"]["quant_modifiers"]["QuantizationModifier"]["config_groups"]
    targets = [target for group in groups.values() for target in group["targets"]]
    model = loaded(folders[name])
    linear = {path for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert set(targets) - linear == {target for target in targets if ".experts." in target}
    assert {target for target in targets if ".1.mlp.experts.0." in target} == LINEARIZED.get(name, set())
    assert (covered(export).reached < covered(export).planned) == (name == "gemma3")
    assert any("load_quantizable_moe" in note for note in export.notes) == (name in STACKED)


@pytest.mark.parametrize("name", [*SIX[:-1], "gpt_neox"])
def test_gguf_has_the_tensors_that_are_named(name: str, folders: dict[str, Path]) -> None:
    gguf = pytest.importorskip("gguf")
    architecture = {
        "llama": "LLAMA", "gemma3": "GEMMA3", "mixtral": "LLAMA", "deepseek_v3": "DEEPSEEK2", "qwen3_vl": "QWEN3VL",
        "gpt_neox": "GPTNEOX",
    }[name]  # fmt: skip
    tensors = [gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[gguf.MODEL_ARCH[architecture]]]
    known = {f"{tensor.format(bid=block)}.weight" for tensor in tensors for block in range(2)}
    export = export_plan(plan(folders[name], "mxfp4:floor"), "gguf")
    named = [line.partition("=")[0].strip("^$").replace("\\", "") for line in export.text.split()]
    assert set(named) <= known | {"token_embd.weight"}
    coverage = covered(export)
    assert (coverage.reached < coverage.planned) == (name in ("gemma3", "qwen3_vl"))  # the vision model is elsewhere


def test_gguf_has_no_opt(folders: dict[str, Path]) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(PlanError, match=r"gguf: expected modules that one architecture of llama\.cpp has, got 13"):
        export_plan(plan(folders["opt"], "mxfp4:floor"), "gguf")


@pytest.mark.parametrize("name", ["gemma3", "qwen3_vl", "opt", "gpt_neox"])
@pytest.mark.parametrize("target", ["torchao", "compressed-tensors"])
def test_what_is_written_is_read_again(name: str, target: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Of models with biases, and of those whose files have other names than their modules."""
    pytest.importorskip(target.replace("-", "_"))
    wanted = plan(folders[name], "int8", keep=r"lm_head|projection|embedding|position|vision_tower")
    write_model(folders[name], wanted, tmp_path / "out", target)
    again = loaded(tmp_path / "out")
    source, place = LoadedModel.of(str(folders[name])), loaded(folders[name])
    assert source is not None
    for choice in wanted.choices:
        found = source.place(choice.layer_name)
        if choice.low_bit and found is not None:
            module: Any = again.get_submodule(found.path)
            kept = type(getattr(module, "weight", None)) is nn.Parameter  # as it was: packed ones have another name
            assert not kept, choice.layer_name
    for key, tensor in place.state_dict().items():
        if key.endswith("bias"):
            assert torch.equal(again.state_dict()[key], tensor), key


@pytest.mark.parametrize("target", ["torchao", "compressed-tensors"])
def test_experts_that_transformers_stacks_are_refused_with_what_to_do(
    target: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip(target.replace("-", "_"))
    with pytest.raises(PlanError, match=r"transformers stacks 12 matrices of experts .* again with --keep '\\.experts"):
        write_model(folders["mixtral"], plan(folders["mixtral"], "int8"), tmp_path / "out", target)
    assert not (tmp_path / "out").exists()


def test_what_transformers_cannot_load_again_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    """Its initialisation of SigLIP reads weights that are packed."""
    pytest.importorskip("compressed_tensors")
    wanted = plan(folders["gemma3"], "int8", keep=r"lm_head|projection|embedding|position|head\.attention")
    with pytest.raises(PlanError, match=r"cannot load these layers when they are quantized .* --format torchao"):
        write_model(folders["gemma3"], wanted, tmp_path / "out", "compressed-tensors")
    assert not (tmp_path / "out").exists()


def test_experts_that_stay_as_they_are_do_not_keep_torchao_from_the_rest(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("torchao")
    wanted = plan(folders["mixtral"], "int8", keep="experts|gate|lm_head")
    write_model(folders["mixtral"], wanted, tmp_path / "out", "torchao")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before, after = (loaded(folder)(ids).logits.float() for folder in (folders["mixtral"], tmp_path / "out"))
    assert 0 < float((after - before).abs().max() / before.abs().max()) < 0.03


def test_without_the_model_its_names_are_said_to_be_unseen(folders: dict[str, Path]) -> None:
    export = export_plan(replace(plan(folders["llama"], "int8"), model="nowhere/model"), "torchao")
    assert export.coverage is None and any("The model of the plan is not at hand" in note for note in export.notes)


def test_coverage_is_one_sentence() -> None:
    assert str(Coverage("torchao", 23, 97, 100, "experts are stacked")) == (
        "torchao quantizes 23.0% of the weights, where the plan puts 97.0% below 16 bits: experts are stacked."
    )
    assert str(Coverage("torchao", 97, 97, 100)).endswith("97.0% of the weights, all that the plan puts below 16 bits.")


def test_an_export_that_would_quantize_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Export("{}", ".json", coverage=Coverage("torchao", 0, 97, 100, "its names are others"))
    monkeypatch.setattr(plugins, "load", lambda *_, **__: lambda plan: nothing)
    plan = Plan((Choice("fc", "other", 8, 8, "int8"),))
    with pytest.raises(PlanError, match=r"something is quantized\. torchao .* its names are others"):
        export_plan(plan, "torchao")
