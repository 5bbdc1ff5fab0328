"""Under PEFT a live model has the rows that a scan of its saved adapter beside the base has."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight
from tests.weights.adapters.test_peft_methods import ALL, CONFIGS, TARGETS, UPDATE, adapt, close, rows

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # of PEFT


def live(model: nn.Module, options: AnalysisOptions = ALL) -> dict[str, Weight]:
    return {weight.layer_name: weight for weight in module_inventory(model, options).weights}


def described(weights: dict[str, Weight]) -> list[tuple[object, ...]]:
    return [(w.layer_name, w.category, w.out_features, w.in_features, w.stored_dtype) for w in weights.values()]


def base_norm(weight: Weight) -> float:
    assert weight.base_norm is not None
    return weight.base_norm()


def lora(**options: Any) -> Any:
    return peft.LoraConfig(**{"r": 3, "lora_alpha": 7, "init_lora_weights": False, **TARGETS, **options})


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"up": nn.Linear(12, 16), "down": nn.Linear(16, 12), "head": nn.Linear(12, 10)})


def model_of(*configs: Any) -> Any:
    """Return a small model with one adapter per config, named a, b, ..."""
    model = peft.get_peft_model(plain().double(), configs[0], "a").double()
    for name, config in zip("bc", configs[1:], strict=False):
        model.add_adapter(name, config)
    model.double().base_model.set_adapter([*"abc"[: len(configs)]])
    return model


MORE = {
    "experts and fused attention": peft.LoraConfig(
        r=2, lora_alpha=6, target_modules=["attn"], target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        rank_pattern={"experts.down_proj": 3},
    ),
    "modules to save": lora(modules_to_save=["head"]),
}  # fmt: skip


@pytest.mark.parametrize("config", [*(config for config, _ in CONFIGS.values()), *MORE.values()], ids=[*CONFIGS, *MORE])
def test_rows_are_those_of_the_saved_adapter_beside_its_base(config: Any, tmp_path: Path) -> None:
    model, _, saved = adapt(config, tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = live(model)
    assert sorted(described(found)) == sorted(described(saved))
    for name, weight in found.items():
        assert weight.unsupported == saved[name].unsupported
        if weight.unsupported:
            continue
        assert close(rows(weight), rows(saved[name]))
        assert (weight.factors is None) == (saved[name].factors is None)
        if weight.is_update:
            assert base_norm(weight) == pytest.approx(base_norm(saved[name]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


WITHOUT_FORMULA = (
    peft.BOFTConfig(boft_block_size=4, **TARGETS),
    peft.HRAConfig(r=2, **TARGETS),
    peft.FourierFTConfig(n_frequency=5, **TARGETS),
    peft.C3AConfig(block_size=4, **TARGETS),
    peft.RandLoraConfig(r=2, **TARGETS),
    peft.VBLoRAConfig(r=2, vector_length=2, num_vectors=8, topk=2, **TARGETS),
)


@pytest.mark.parametrize("config", WITHOUT_FORMULA, ids=lambda config: config.peft_type.value)
def test_methods_without_a_formula_have_a_reason(config: Any, tmp_path: Path) -> None:
    model, _, _ = adapt(config, tmp_path)
    found = live(model)
    assert set(found) == {"up", "up" + UPDATE, "down", "down" + UPDATE}
    assert all("formula" in weight.unsupported for weight in found.values())


def test_two_adapters_add_up() -> None:
    model = model_of(lora(), lora(r=5, use_rslora=True, target_modules=["up"]))
    found = live(model)
    for name, both in (("up", ["a", "b"]), ("down", ["a"])):
        layer = model.base_model.model[name]
        delta = sum(layer.get_delta_weight(adapter) for adapter in both)
        left, right = found[name + UPDATE].factors()  # type: ignore[misc]
        assert close(rows(found[name + UPDATE]), delta) and close(left @ right, delta)
        assert close(rows(found[name]), layer.base_layer.weight.detach() + delta)
    assert found["up" + UPDATE].stored_dtype == "LoRA, rank 3 and LoRA, rank 5"


def test_two_adapters_of_which_one_scales_the_weight_have_a_reason() -> None:
    found = live(model_of(lora(), lora(use_dora=True, target_modules=["up"])))
    assert "several adapters act at once" in found["up"].unsupported and not found["down"].unsupported


def test_only_adapters_that_act_count() -> None:
    model = model_of(lora(target_modules=["up"]), lora(target_modules=["down"]))
    whole = live(model)
    model.set_adapter("a")
    found = live(model)
    assert set(found) == set(whole)
    assert close(rows(found["up" + UPDATE]), rows(whole["up" + UPDATE]))
    base = model.base_model.model["down"].base_layer.weight
    assert torch.equal(rows(found["down"]), base) and not rows(found["down" + UPDATE]).any()
    assert found["down" + UPDATE].stored_dtype == "no active adapter"
    with model.disable_adapter():
        assert not rows(live(model)["up" + UPDATE]).any()


def test_a_scale_that_was_changed_since_counts() -> None:
    model = model_of(lora())
    layer = model.base_model.model["up"]
    layer.scale_layer(0.25)
    assert close(rows(live(model)["up" + UPDATE]), layer.get_delta_weight("a"))
    layer.scale_layer(0.0)
    assert not rows(live(model)["up" + UPDATE]).any()


def test_a_merged_adapter_is_told_from_its_base() -> None:
    model = model_of(lora())
    before = live(model)
    kept, norm = {name: rows(weight) for name, weight in before.items()}, base_norm(before["up" + UPDATE])
    model.merge_adapter()
    found = live(model)
    assert set(found) == set(before) and all(close(rows(weight), kept[name]) for name, weight in found.items())
    assert base_norm(found["up" + UPDATE]) == pytest.approx(norm)
    base = live(model, AnalysisOptions(adapters="base"))
    assert "merged with its adapter" in base["up"].unsupported and not base["head"].unsupported


def test_a_merged_adapter_that_cannot_be_told_from_its_base_has_a_reason() -> None:
    model = model_of(lora(use_dora=True))
    model.merge_adapter()
    assert {bool(weight.unsupported) for weight in live(model).values()} == {True}


def test_a_module_trained_in_full_is_that_of_the_active_adapter() -> None:
    model = model_of(lora(modules_to_save=["head"]), lora(target_modules=["down"]))
    copy_ = model.base_model.model["head"].modules_to_save["a"].weight
    with torch.no_grad():
        copy_.add_(1)
    found = live(model)
    assert torch.equal(rows(found["head"]), copy_)
    assert close(rows(found["head" + UPDATE]), torch.ones(10, 12, dtype=torch.float64))


def test_what_is_trained_beside_the_adapters_has_rows_too() -> None:
    model = model_of(lora())
    assert "head" not in live(model)
    model.base_model.model["head"].weight.requires_grad_(True)
    found = live(model)
    assert torch.equal(rows(found["head"]), model.base_model.model["head"].weight) and "head" + UPDATE not in found


def test_an_initialisation_that_took_from_the_base_has_right_sums_and_no_update() -> None:
    model = peft.get_peft_model(plain(), lora(init_lora_weights="pissa"), "a")
    found, layer = live(model), model.base_model.model["up"]
    torch.testing.assert_close(rows(found["up"]).float(), layer.base_layer.weight + layer.get_delta_weight("a"))
    assert found["up" + UPDATE].unsupported.startswith("initialised by pissa, which takes a part out of the base")


@pytest.mark.parametrize("wrap", ["ddp", "lightning"])
def test_wrappers_change_no_name(wrap: str) -> None:
    model = model_of(lora())
    expected = live(model)
    holder = nn.Module()
    holder.add_module("module", model)
    if wrap == "lightning":
        holder.add_module("other", nn.Linear(3, 3))  # so that not every name begins with the prefix
        expected = {f"module.{name}": weight for name, weight in expected.items()}
    found = live(holder)
    assert found.keys() - {"other"} == expected.keys()
    assert all(close(rows(found[name]), rows(weight)) for name, weight in expected.items())


def test_a_note_says_what_is_shown() -> None:
    model = model_of(lora())
    inventory: Inventory = module_inventory(model, ALL)
    assert len(inventory.notes) == 1 and 'adapters="base"' in inventory.notes[0]
    assert module_inventory(copy.deepcopy(model).merge_and_unload(), ALL).notes == ()
    assert {each.name: each.reason for each in inventory.skipped}["head"].startswith("not changed by the adapter")


def test_a_copy_does_not_follow_training() -> None:
    model = model_of(lora())
    copied = live(model)["up" + UPDATE].copied()
    kept = rows(copied).clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    left, right = copied.factors()  # type: ignore[misc]
    assert torch.equal(rows(copied), kept) and close(left @ right, kept)
