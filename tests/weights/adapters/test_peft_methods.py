"""Every method with a formula against PEFT: the update against get_delta_weight, the sum against merge_and_unload."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.weight import Weight

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # of PEFT: about what it saves

UPDATE = " (update)"
ALL = AnalysisOptions(include_embeddings=True)


class Experts(nn.Module):
    """Two stacks of three experts, as transformers has them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, 24, 16))
        self.down_proj = nn.Parameter(torch.randn(3, 16, 12))

    def forward(self, x: Tensor) -> Tensor:
        return x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(12, 16), nn.Linear(16, 12)
        self.conv, self.emb, self.gpt = nn.Conv2d(4, 6, 3), nn.Embedding(20, 8), Conv1D(16, 12)
        self.attn = nn.MultiheadAttention(8, 2)
        self.mlp = nn.ModuleDict({"experts": Experts()})
        self.head = nn.Linear(12, 10)


def adapt(config: Any, tmp_path: Path) -> tuple[Any, dict[str, Weight], dict[str, Weight]]:
    """Return the adapted model, the weights read from its adapter alone, and those read beside the base."""
    torch.manual_seed(0)
    net = Net().double()
    save_file({name: value.clone() for name, value in net.state_dict().items()}, tmp_path / "base.safetensors")
    model = peft.get_peft_model(net, config).double()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad and "ranknum" not in name:
                value.copy_(torch.randn_like(value) * 0.1 + (1 if value.ndim == 1 or "ia3" in name else 0))
    model.save_pretrained(tmp_path / "adapter")
    adapter, base = open_checkpoint(tmp_path / "adapter"), open_checkpoint(tmp_path / "base.safetensors")
    alone = adapter.inventory(ALL).weights
    both = adapter.inventory_with_base(base, ALL).weights
    return model, {w.layer_name: w for w in alone}, {w.layer_name: w for w in both}


def rows(weight: Weight) -> Tensor:
    assert not weight.unsupported
    return torch.cat([weight.rows(0, 5), weight.rows(5, weight.out_features)])


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-9 * expected.norm())


TARGETS = {"target_modules": ["up", "down"]}
CONFIGS = {
    "lora": (peft.LoraConfig(r=3, lora_alpha=7, **TARGETS), True),
    "rslora with patterns": (
        peft.LoraConfig(
            r=3, lora_alpha=7, use_rslora=True, rank_pattern={"up": 5}, alpha_pattern={"^down": 2}, **TARGETS
        ),
        True,
    ),
    "conv, embedding, Conv1D": (
        peft.LoraConfig(r=3, target_modules=["conv", "emb", "gpt"], fan_in_fan_out=True), True,
    ),
    "lora_bias": (peft.LoraConfig(r=3, lora_bias=True, **TARGETS), True),
    "adalora": (peft.AdaLoraConfig(init_r=4, target_r=2, lora_alpha=5, total_step=10, **TARGETS), True),
    "loha": (peft.LoHaConfig(r=3, alpha=6, **TARGETS), True),  # PEFT rounds its scale to fp32: one that it holds
    "lokr": (peft.LoKrConfig(r=3, alpha=5, **TARGETS), True),
    "lokr in small factors": (peft.LoKrConfig(r=1, alpha=5, decompose_both=True, decompose_factor=4, **TARGETS), True),
    "dora": (peft.LoraConfig(r=3, use_dora=True, **TARGETS), False),
    "dora of a convolution": (peft.LoraConfig(r=3, use_dora=True, target_modules=["conv"]), False),
    "vera": (peft.VeraConfig(r=3, save_projection=True, **TARGETS), False),
    "ia3": (peft.IA3Config(target_modules=["up", "down"], feedforward_modules=["down"]), False),
    "oft": (peft.OFTConfig(oft_block_size=4, r=0, use_cayley_neumann=False, **TARGETS), False),
    "oft by a series": (peft.OFTConfig(oft_block_size=4, r=0, num_cayley_neumann_terms=3, **TARGETS), False),
    "oft with one block": (peft.OFTConfig(oft_block_size=4, r=0, block_share=True, **TARGETS), False),
}  # fmt: skip


@pytest.mark.parametrize(("config", "alone_too"), CONFIGS.values(), ids=CONFIGS)
def test_update_and_sum_are_those_of_peft(config: Any, alone_too: bool, tmp_path: Path) -> None:
    model, alone, both = adapt(config, tmp_path)
    touched = {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if hasattr(m, "merge") and n}
    touched = {name: layer for name, layer in touched.items() if hasattr(layer, "base_layer")}
    assert set(alone) == {name + UPDATE for name in touched}
    assert set(both) == {name + end for name in touched for end in ("", UPDATE)}
    before = {name: layer.base_layer.weight.detach().clone() for name, layer in touched.items()}
    deltas = {name: layer.get_delta_weight("default").detach() for name, layer in touched.items()} if alone_too else {}
    merged = model.merge_and_unload().state_dict()
    for name in touched:
        transposed = name == "gpt"
        sum_, w0 = ((t.T if transposed else t).flatten(1) for t in (merged[f"{name}.weight"], before[name]))
        assert close(rows(both[name]), sum_)
        assert close(rows(both[name + UPDATE]), sum_ - w0)
        assert both[name].category + "_update" == both[name + UPDATE].category
        update = alone[name + UPDATE]
        if alone_too:
            delta = deltas[name].T if transposed else deltas[name]
            assert close(rows(update), delta.flatten(1))
            assert close(rows(update), rows(both[name + UPDATE]))
            if update.factors is not None:
                left, right = update.factors()
                assert close(left @ right, delta.flatten(1))
        else:
            assert "base" in update.unsupported


def test_experts_and_fused_attention(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=2, lora_alpha=6, target_modules=["attn"], target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        rank_pattern={"experts.down_proj": 3},
    )  # fmt: skip
    model, alone, both = adapt(config, tmp_path)
    merged = model.merge_and_unload().state_dict()
    for part, found in enumerate("qkv"):
        expected = merged["attn.in_proj_weight"][8 * part : 8 * (part + 1)]
        assert close(rows(both[f"attn.in_proj.{found}"]), expected)
        assert close(rows(alone[f"attn.in_proj.{found}{UPDATE}"]), rows(both[f"attn.in_proj.{found}{UPDATE}"]))
    assert "adds it twice" in both["attn.out_proj"].unsupported
    for expert in range(3):
        for stack in ("gate_up_proj", "down_proj"):
            name = f"mlp.experts.{expert}.{stack}"
            assert close(rows(both[name]), merged[f"mlp.experts.{stack}"][expert])
            assert close(rows(alone[name + UPDATE]), rows(both[name + UPDATE]))


def test_modules_to_save_are_rows_of_their_own(tmp_path: Path) -> None:
    model, alone, both = adapt(peft.LoraConfig(r=3, modules_to_save=["head"], target_modules=["up"]), tmp_path)
    assert set(alone) == {"up" + UPDATE, "head"}
    trained = model.base_model.model.head.modules_to_save["default"].weight.detach()
    assert torch.equal(rows(alone["head"]), trained)
    assert close(rows(both["head" + UPDATE]), trained - model.base_model.model.head.original_module.weight.detach())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (peft.BOFTConfig(boft_block_size=4, **TARGETS), "BOFT: its formula is not computed here"),
        (peft.HRAConfig(r=2, **TARGETS), "HRA: its formula is not computed here"),
        (peft.FourierFTConfig(n_frequency=5, **TARGETS), "FOURIERFT: its formula"),
    ],
    ids=lambda value: value.peft_type.value if hasattr(value, "peft_type") else "",
)
def test_others_are_named(config: Any, words: str, tmp_path: Path) -> None:
    _, alone, both = adapt(config, tmp_path)
    for found in (alone, both):
        assert found["up" + UPDATE].unsupported.startswith(words), found["up" + UPDATE]
        assert all(weight.unsupported for weight in found.values())
    assert both["up"].out_features == 16


def test_an_initialisation_that_moved_the_base_is_named(tmp_path: Path) -> None:
    adapt(peft.LoraConfig(r=3, **TARGETS), tmp_path)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": "pissa_niter_16"}))
    weights = open_checkpoint(file.parent).inventory(ALL).weights
    assert all(w.unsupported.startswith("LoRA: initialised by pissa_niter_16, which takes a part") for w in weights)


def test_a_stored_config_is_needed_for_the_scale(tmp_path: Path) -> None:
    adapt(peft.LoraConfig(r=3, **TARGETS), tmp_path)
    (tmp_path / "adapter" / "adapter_config.json").unlink()
    weights = open_checkpoint(tmp_path / "adapter").inventory(ALL).weights
    assert {w.unsupported for w in weights} == {
        "LoRA, rank 3: its scale is not known: adapter_config.json (with lora_alpha) is not beside the file"
    }


def test_vera_without_its_shared_matrices_is_named(tmp_path: Path) -> None:
    adapt(peft.VeraConfig(r=3, save_projection=True, **TARGETS), tmp_path)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if "lambda" in name}, file)
    weights = open_checkpoint(file).inventory(ALL).weights
    assert {w.layer_name for w in weights} == {"up" + UPDATE, "down" + UPDATE}
    assert all(w.unsupported.startswith("VeRA, rank 3: its shared matrices") for w in weights)


def test_prompts_change_no_weight(tmp_path: Path) -> None:
    save_file({"prompt_embeddings": torch.randn(8, 16)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "PREFIX_TUNING"}))
    (weight,) = open_checkpoint(tmp_path).inventory(ALL).weights
    assert weight.unsupported == "PREFIX_TUNING: trains prompts and changes no weight"
