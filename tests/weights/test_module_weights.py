"""A live module and its checkpoint list the same layers with the same values."""

from pathlib import Path

import pytest
import torch
from torch import nn

from alpha_callbacks.analysis.parallel import analyze_weights
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory

OPTIONS = AnalysisOptions(precisions=("fp32",))
transformers = pytest.importorskip("transformers")


def names(inventory: Inventory) -> list[str]:
    return [weight.layer_name for weight in inventory.weights]


def alphas(inventory: Inventory) -> dict[str, float]:
    return {r.layer_name: r.rows[0].alpha for r in analyze_weights(inventory.weights, OPTIONS)}


def llama(**changes: object) -> nn.Module:
    sizes = dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=96, **{**sizes, **changes}))


MODELS = {
    "llama": lambda: llama(),
    "llama, tied": lambda: llama(tie_word_embeddings=True),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=48, n_head=4, n_layer=2, vocab_size=96, n_positions=32)
    ),
    "neox": lambda: transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=96
        )
    ),
    "phi3": lambda: transformers.Phi3ForCausalLM(
        transformers.Phi3Config(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=96,
            pad_token_id=0,
        )
    ),
    "bert": lambda: transformers.BertModel(
        transformers.BertConfig(
            hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=96
        )
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_scan_and_live_module_agree(model: str, tmp_path: Path) -> None:
    module = MODELS[model]()
    module.save_pretrained(tmp_path / "m")
    live = module_inventory(module, OPTIONS)
    scanned = open_checkpoint(tmp_path / "m").inventory(OPTIONS)
    assert alphas(scanned) == alphas(live)
    # Phi-3 defines o_proj before qkv_proj; a scan has only names to go by and follows the forward pass.
    assert names(scanned) == names(live) if model != "phi3" else sorted(names(scanned)) == sorted(names(live))
    assert sorted(w.category for w in scanned.weights) == sorted(w.category for w in live.weights)


def test_mixtral_experts_and_router(tmp_path: Path) -> None:
    config = transformers.MixtralConfig(
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=3,
        vocab_size=96,
    )
    live = module_inventory(transformers.MixtralForCausalLM(config), OPTIONS)
    categories = [weight.category for weight in live.weights]
    assert categories.count("moe_expert_gate") == categories.count("moe_expert_down") == 3
    assert categories.count("moe_router") == 1
    shapes = {(w.category, w.out_features, w.in_features) for w in live.weights if w.category.startswith("moe_expert")}
    assert shapes == {("moe_expert_gate", 64, 48), ("moe_expert_up", 64, 48), ("moe_expert_down", 48, 64)}


def test_split_parts_are_the_rows_of_the_fused_matrix() -> None:
    module = MODELS["phi3"]()
    fused = module.model.layers[0].self_attn.qkv_proj.weight
    parts = {w.layer_name: w for w in module_inventory(module, OPTIONS).weights}
    q, k, v = (parts[f"model.layers.0.self_attn.qkv_proj.{part}"] for part in "qkv")
    torch.testing.assert_close(torch.cat([w.rows(0, w.out_features) for w in (q, k, v)]), fused)
    gate = next(w for w in module_inventory(module, OPTIONS).weights if w.category == "mlp_gate")
    torch.testing.assert_close(gate.rows(5, 9), module.model.layers[0].mlp.gate_up_proj.weight[5:9])


def test_grouped_rows_of_neox_are_those_its_attention_uses() -> None:
    """The model's own code views the projection as (heads, 3, head size)."""
    module = MODELS["neox"]()
    fused = module.gpt_neox.layers[0].attention.query_key_value.weight
    parts = {
        w.category: w for w in module_inventory(module, OPTIONS).weights if w.layer_name.startswith("gpt_neox.layers.0")
    }
    expected = fused.view(4, 3, 12, 48)
    for i, category in enumerate(("attn_q", "attn_k", "attn_v")):
        torch.testing.assert_close(parts[category].rows(0, 48), expected[:, i].reshape(48, 48))


class Zoo(nn.Module):
    """One of each kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(20, 30)
        self.again = self.fc
        self.conv1 = nn.Conv1d(12, 24, 3)
        self.conv2 = nn.Conv2d(12, 24, 3, groups=2)
        self.conv3 = nn.Conv3d(4, 16, 2)
        self.attention = nn.MultiheadAttention(16, 4)
        self.table = nn.Embedding(50, 16)
        self.rnn = nn.LSTM(16, 16)
        self.norm = nn.LayerNorm(16)
        self.weird = nn.Parameter(torch.randn(8, 8))
        self.wn = nn.utils.parametrizations.weight_norm(nn.Linear(20, 20))


def test_every_kind_of_layer() -> None:
    inventory = module_inventory(Zoo(), OPTIONS)
    shapes = {w.layer_name: (w.out_features, w.in_features) for w in inventory.weights}
    assert shapes == {
        "fc": (30, 20),
        "conv1": (24, 36),
        "conv2": (24, 54),
        "conv3": (16, 32),
        "attention.in_proj.q": (16, 16),
        "attention.in_proj.k": (16, 16),
        "attention.in_proj.v": (16, 16),
        "attention.out_proj": (16, 16),
        "rnn.weight_ih_l0": (64, 16),
        "rnn.weight_hh_l0": (64, 16),
        "wn": (20, 20),
    }
    reasons = {s.name: s.reason for s in inventory.skipped}
    assert "embedding" in reasons["table.weight"]
    assert reasons["norm.weight"] == "1-D, has no spectrum"
    assert reasons["weird"] == "not the weight of a known kind of layer"


def test_embeddings_on_request() -> None:
    options = AnalysisOptions(include_embeddings=True)
    assert "table" in names(module_inventory(Zoo(), options))
    tied = module_inventory(MODELS["llama, tied"](), options)
    assert [n for n in names(tied) if "layers" not in n] == ["lm_head"], "one storage is one row"


def pruned(module: nn.Linear) -> nn.Module:
    nn.utils.prune.random_unstructured(module, "weight", amount=0.25)
    nn.utils.prune.l1_unstructured(module, "weight", amount=0.5)
    return module


COMPUTED = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "weight_norm, as a hook": nn.utils.weight_norm,
    "spectral_norm, as a hook": nn.utils.spectral_norm,
    "prune": pruned,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_are_those_of_the_next_forward_pass_and_change_nothing(kind: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*(COMPUTED[kind](nn.Linear(20, 20)) for _ in range(12))).train()
    with torch.no_grad():
        for parameter in module.parameters():  # a hook has set the weight before
            parameter.mul_(1.5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inventory = module_inventory(module, OPTIONS)
    assert [weight.layer_name for weight in inventory.weights] == [str(i) for i in range(12)]
    assert len(list(analyze_weights(inventory.weights, OPTIONS))) == 12
    assert not any(skipped.shared for skipped in inventory.skipped)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(child.training for child in module.modules())
    found = [weight.rows(0, 20) for weight in inventory.weights]
    module.eval()
    for child, weight in zip(module, found, strict=True):
        torch.testing.assert_close(child(torch.eye(20)) - child.bias, weight.T)


class Tied(nn.Module):
    """A head that is defined before the embedding that owns its storage, and two more sharers."""

    def __init__(self) -> None:
        super().__init__()
        self.lm_head = nn.Linear(16, 40, bias=False)
        self.embed_tokens = nn.Embedding(40, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(3))
        self.embed_tokens.weight = self.lm_head.weight
        for layer in self.layers:
            layer.weight = self.layers[0].weight


def test_shared_storage_is_one_row_whatever_the_order() -> None:
    inventory = module_inventory(Tied(), OPTIONS)
    assert [(w.layer_name, w.tied_to) for w in inventory.weights] == [
        ("lm_head", "embed_tokens"),
        ("layers.2", "layers.0"),
    ]
    assert sorted(s.name for s in inventory.skipped if s.shared) == [
        "embed_tokens.weight",
        "layers.0.weight",
        "layers.1.weight",
    ]


def test_shared_storage_is_analysed_under_a_name_that_passes_the_filter() -> None:
    inventory = module_inventory(Tied(), AnalysisOptions(include=r"layers\.0"))
    assert names(inventory) == ["layers.0"]
    without_head = module_inventory(Tied(), AnalysisOptions(exclude="lm_head", include_embeddings=True))
    assert "embed_tokens" in names(without_head)


def test_scaled_codes_of_a_live_module_are_unsupported() -> None:
    module = nn.Linear(16, 16, bias=False)
    module.weight = nn.Parameter(torch.randn(16, 16).to(torch.float8_e4m3fn), requires_grad=False)
    module.register_buffer("weight_scale_inv", torch.ones(3, 3))
    (weight,) = module_inventory(nn.Sequential(module), OPTIONS).weights
    assert "weight_scale_inv" in weight.unsupported


def test_a_submodule_called_module_keeps_its_name() -> None:
    net = nn.ModuleDict({"module": nn.Linear(9, 9), "other": nn.Linear(9, 9)})
    assert names(module_inventory(net, OPTIONS)) == ["module", "other"]
    assert names(module_inventory(nn.ModuleDict({"module": nn.Sequential(nn.Linear(9, 9))}), OPTIONS)) == ["0"]


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch.compile imports torch.jit
def test_wrappers_do_not_show_in_names() -> None:
    module = llama()
    expected = names(module_inventory(module, OPTIONS))
    assert names(module_inventory(torch.compile(module), OPTIONS)) == expected  # type: ignore[arg-type]
    assert names(module_inventory(nn.Sequential(module), OPTIONS)) == [f"0.{n}" for n in expected]


def test_filters() -> None:
    options = AnalysisOptions(include="self_attn", exclude=r"layers\.1\.")
    inventory = module_inventory(llama(), options)
    assert len(inventory.weights) == 4
    assert sum(s.reason == "left out by the layer filter" for s in inventory.skipped) == 11


def test_meta_tensors_are_refused_not_analysed() -> None:
    with torch.device("meta"):
        inventory = module_inventory(nn.Linear(4, 4), OPTIONS)
        fresh = module_inventory(nn.Sequential(nn.Linear(4, 4)), OPTIONS)
    assert [w.unsupported for w in fresh.weights] == ["on the meta device, so it has no values"]
    assert inventory.weights[0].unsupported


def test_module_is_as_before() -> None:
    module = llama().eval()
    before = {name: p.clone() for name, p in module.named_parameters()}
    random, training = torch.get_rng_state(), module.training
    list(analyze_weights(module_inventory(module, OPTIONS).weights, AnalysisOptions()))
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in module.named_parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert module.training is training


def test_embedded_llama() -> None:
    inventory = open_checkpoint(EMBEDDED).inventory(OPTIONS)
    assert len(inventory.weights) == 29
    module = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED)
    assert names(module_inventory(module, OPTIONS)) == names(inventory)


def test_a_layer_whose_name_another_has_is_listed_under_its_own_path() -> None:
    module = nn.Module()
    module.up = nn.Linear(8, 6)
    module._orig_mod = nn.Module()  # a wrapper's word, which the user's own model has beside the same name
    module._orig_mod.up = nn.Linear(8, 6)
    found = module_inventory(module, OPTIONS)
    own = {"up": module.up, "_orig_mod.up": module._orig_mod.up}
    assert names(found) == list(own) and "under their own path" in found.notes[0]
    for weight in found.weights:
        assert (weight.rows(0, 6) == own[weight.layer_name].weight).all()
