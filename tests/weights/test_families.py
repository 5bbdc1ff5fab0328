"""Every matrix of a live model and of its saved folder is one that the model's own forward pass multiplies with.

Sizes coincide on purpose: hidden and intermediate sizes are equal, so that a shape says nothing of the orientation.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.tied_heads import tied_heads
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import module_name
from alpha_callbacks.weights.families import FAMILIES
from alpha_callbacks.weights.inventory import Inventory, take_inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.stored_tensor import StoredTensor
from tests.support.multiplied import Multiplied

transformers = pytest.importorskip("transformers")
OPTIONS = AnalysisOptions()
SIZES = dict(
    hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    vocab_size=64, max_position_embeddings=64, pad_token_id=0,
)  # fmt: skip
EXPERTS = dict(SIZES, num_local_experts=3, num_experts_per_tok=2)
MODELS: dict[str, dict[str, Any]] = {
    "GptOssForCausalLM": dict(EXPERTS, layer_types=["full_attention"]),
    "OpenAIPrivacyFilterForTokenClassification": dict(EXPERTS),
    "Llama4ForCausalLM": dict(EXPERTS, intermediate_size_mlp=48, interleave_moe_layer_step=1),
    "AriaTextForCausalLM": dict(SIZES, moe_num_experts=3, moe_topk=2, moe_num_shared_experts=1),
    "JetMoeForCausalLM": dict(EXPERTS, kv_channels=8, num_key_value_heads=2),
    "GraniteMoeForCausalLM": dict(EXPERTS),
    "MixtralForCausalLM": dict(EXPERTS),
    "Qwen3MoeForCausalLM": dict(EXPERTS, moe_intermediate_size=32, num_experts=3, decoder_sparse_step=1),
    "DbrxForCausalLM": dict(
        d_model=32, n_heads=4, n_layers=1, max_seq_len=64, vocab_size=64,
        attn_config=dict(kv_n_heads=2, clip_qkv=8, rope_theta=1e4),
        ffn_config=dict(ffn_hidden_size=32, moe_num_experts=3, moe_top_k=2),
    ),
    "GPT2LMHeadModel": dict(n_embd=32, n_inner=32, n_layer=1, n_head=4, n_positions=64, vocab_size=64),
    "OpenAIGPTLMHeadModel": dict(n_embd=32, n_layer=1, n_head=4, n_positions=64, vocab_size=64),
    "XLNetLMHeadModel": dict(d_model=32, n_layer=1, n_head=4, d_inner=32, vocab_size=64),
    "RecurrentGemmaForCausalLM": dict(SIZES, num_hidden_layers=3, lru_width=32, num_key_value_heads=1),
    "PersimmonForCausalLM": dict(SIZES),
    "Phi3ForCausalLM": dict(SIZES),
    "GPTNeoXForCausalLM": dict(SIZES),
    "FalconForCausalLM": dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, vocab_size=64),
    "RwkvForCausalLM": dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, vocab_size=64),
}  # fmt: skip


def built(name: str, **changes: Any) -> Any:
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    sizes = {key: value for key, value in MODELS[name].items() if not key.startswith("max_") or "XLNet" not in name}
    model = cls(cls.config_class(**sizes, **changes))
    with torch.no_grad():
        for parameter in model.parameters():  # no two rows alike, as zeros of an initialisation would be
            parameter.normal_()
    for part in [model.config, *(getattr(model.config, key, None) for key in ("text_config",))]:
        if part is not None:
            part._experts_implementation = "eager"
    return model.eval()


def forward(model: Any) -> Multiplied:
    return Multiplied(lambda: model(torch.arange(48).view(4, 12)))


def wrong(inventory: Inventory, multiplied: Multiplied) -> list[str]:
    return [
        weight.layer_name
        for weight in inventory.weights
        if weight.category != "conv" and not multiplied.has(weight.rows(0, weight.out_features))
    ]


@pytest.mark.parametrize("name", MODELS)
def test_each_matrix_is_one_that_the_model_multiplies_with(name: str, tmp_path: Path) -> None:
    model = built(name)
    multiplied = forward(model)
    live = module_inventory(model, OPTIONS)
    assert wrong(live, multiplied) == []
    assert [tensor.name for tensor in live.skipped if tensor.unknown] == []
    model.save_pretrained(tmp_path)
    saved = open_checkpoint(tmp_path).inventory(OPTIONS)
    assert wrong(saved, multiplied) == []
    assert [tensor.name for tensor in saved.skipped if tensor.unknown] == []
    assert sorted(w.category for w in saved.weights if not w.tied_to) == sorted(
        w.category for w in live.weights if not w.tied_to
    )


def test_each_group_of_a_grouped_projection_is_a_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = dict(
        SIZES, num_key_value_heads=1, head_dim=16, q_lora_rank=16, o_lora_rank=8, o_groups=2, num_experts_per_tok=2,
        n_routed_experts=3, moe_intermediate_size=32, mlp_layer_types=["moe"],
    )  # fmt: skip
    monkeypatch.setitem(MODELS, "DeepseekV4ForCausalLM", sizes)
    model = built("DeepseekV4ForCausalLM")
    multiplied = forward(model)
    model.save_pretrained(tmp_path)
    live, saved = module_inventory(model, OPTIONS), open_checkpoint(tmp_path).inventory(OPTIONS)
    assert wrong(live, multiplied) == [] == wrong(saved, multiplied)
    groups = [weight.layer_name for weight in saved.weights if ".wo_a" in weight.layer_name]
    assert groups == [f"model.layers.0.attn.wo_a.{number}" for number in range(2)]
    assert {module_name(name) for name in groups} == {"model.layers.0.attn.wo_a"}
    assert {weight.layer_name for weight in live.weights} == {weight.layer_name for weight in saved.weights}
    names = {weight.layer_name: weight.source_name for weight in live.weights}
    assert names[groups[1]] == "model.layers.0.self_attn.o_a_proj.1"
    assert names["model.layers.0.attn.wq_a"] == "model.layers.0.self_attn.q_a_proj"
    odd = {"model_type": "deepseek_v4", "o_groups": 3}  # does not divide 16 rows: left whole
    assert [w.layer_name for w in take_inventory([stack("attn.wo_a.weight", 16, 32)], odd).weights] == ["attn.wo_a"]


TIED: dict[str, dict[str, Any]] = {
    name: dict(
        vocab_size=64, hidden_size=32, d_model=32, n_embd=32, num_hidden_layers=1, n_layer=1, num_layers=1,
        num_attention_heads=4, n_head=4, num_heads=4, n_heads=4, intermediate_size=48, d_ff=48, dff=48, hidden_dim=48,
        d_kv=8, d_inner=48, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, n_positions=64, embedding_size=32, dim=32,
        num_mel_bins=16, max_source_positions=64, max_target_positions=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, sep_token_id=2, cls_token_id=1,
    )
    for name in (
        "T5ForConditionalGeneration", "BartForConditionalGeneration", "WhisperForConditionalGeneration",
        "MarianMTModel", "BertForMaskedLM", "RobertaForMaskedLM", "AlbertForMaskedLM", "DistilBertForMaskedLM",
        "ElectraForMaskedLM",
        "ModernBertForMaskedLM", "XLNetLMHeadModel", "GPT2LMHeadModel", "OpenAIGPTLMHeadModel", "CTRLLMHeadModel",
    )
}  # fmt: skip


@pytest.mark.parametrize("name", TIED)
def test_a_tied_head_is_a_row_of_the_file_as_of_the_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, name, TIED[name])
    model = built(name)
    live = module_inventory(model, OPTIONS).weights
    model.save_pretrained(tmp_path)
    saved = open_checkpoint(tmp_path).inventory(OPTIONS).weights
    (head,) = (weight for weight in live if weight.tied_to)
    assert sorted(weight.layer_name for weight in saved) == sorted(weight.layer_name for weight in live)
    (stored,) = (weight for weight in saved if weight.layer_name == head.layer_name)
    assert torch.equal(stored.rows(0, 64), head.rows(0, 64))


def test_the_oracle_knows_a_transposed_matrix() -> None:
    model = built("MixtralForCausalLM")
    multiplied = forward(model)
    matrix = model.model.layers[0].self_attn.o_proj.weight
    assert multiplied.has(matrix) and not multiplied.has(matrix.T)


def stack(name: str, *shape: int) -> StoredTensor:
    values = torch.randn(shape)
    return StoredTensor(name, shape, torch.float32, "float32", lambda start, stop: values[start:stop])


def orientation(inventory: Inventory, tensor: StoredTensor) -> list[bool | None]:
    """Return per matrix whether it is turned, None where that was not told."""
    found: list[bool | None] = []
    values: Tensor = tensor.read(0, tensor.shape[0])
    for weight in inventory.weights:
        if "down" in weight.layer_name:
            expert = int(weight.layer_name.split(".")[-2]) if not weight.unsupported else 0
            found.append(
                None if weight.unsupported else not torch.equal(weight.rows(0, weight.out_features), values[expert])
            )
    return found


@pytest.mark.parametrize(("gate_up", "turned"), [((3, 64, 32), False), ((3, 32, 64), True)])
def test_beside_a_square_stack_the_other_one_decides(gate_up: tuple[int, ...], turned: bool) -> None:
    config = {"model_type": "a_new_one", "hidden_size": 32, "moe_intermediate_size": 32}
    down = stack("model.layers.0.mlp.experts.down_proj", 3, 32, 32)
    inventory = take_inventory([stack("model.layers.0.mlp.experts.gate_up_proj", *gate_up), down], config)
    assert orientation(inventory, down) == 3 * [turned]


def test_a_square_stack_alone_is_refused() -> None:
    config = {"model_type": "a_new_one", "hidden_size": 32, "moe_intermediate_size": 32}
    inventory = take_inventory([down := stack("model.layers.0.mlp.experts.down_proj", 3, 32, 32)], config)
    assert orientation(inventory, down) == [None]
    assert "(out, in) or (in, out)" in inventory.weights[0].unsupported


class Unlike(nn.Module):
    """A user's own model, whose words mean something else than in transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.codebook = nn.Linear(8, 8)
        self.embed = nn.Linear(8, 8)
        self.pos_embed = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 8))
        self.query = nn.Linear(8, 8)


def test_what_a_name_means_in_transformers_it_need_not_mean_elsewhere(tmp_path: Path) -> None:
    live = module_inventory(Unlike(), OPTIONS)
    assert [weight.layer_name for weight in live.weights] == [
        "codebook",
        "embed",
        "pos_embed.0",
        "pos_embed.2",
        "query",
    ]
    model = Unlike()
    model.config = SimpleNamespace(to_dict=lambda: {"model_type": "eomt"})  # where a table has this name
    assert len(module_inventory(model, OPTIONS).weights) == 5
    torch.save(Unlike().state_dict(), tmp_path / "model.pt")
    saved = open_checkpoint(tmp_path / "model.pt").inventory(OPTIONS)
    assert {"codebook", "pos_embed.0", "pos_embed.2"} <= {weight.layer_name for weight in saved.weights}


def test_tables_of_transformers_are_no_rows_of_its_files() -> None:
    tensors = [stack("visual.pos_embed.weight", 16, 8), stack("model.layers.0.mlp.up_proj.weight", 16, 8)]
    inventory = take_inventory(tensors, {"model_type": "qwen3_vl"})
    assert [weight.layer_name for weight in inventory.weights] == ["model.layers.0.mlp.up_proj"]
    both = take_inventory(tensors, {"model_type": "qwen3_vl"}, include_embeddings=True)
    assert [weight.category for weight in both.weights] == ["embedding", "mlp_up"]


def head_of(config: dict[str, Any], *names: str) -> list[str]:
    return [name for name, _ in tied_heads([stack(name, 16, 8) for name in names], config)]


EMBEDDING = "model.language_model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("config", "names", "heads"),
    [
        ({"architectures": ["MusicgenForConditionalGeneration"]}, ("shared.weight", "decoder.lm_heads.0.weight"), []),
        (
            {"architectures": ["Qwen2VLModel"], "text_config": {"architectures": ["Qwen2VLForConditionalGeneration"]}},
            (EMBEDDING,),
            [],
        ),
        (
            {
                "architectures": ["Mistral3ForConditionalGeneration"],
                "tie_word_embeddings": True,
                "text_config": {"tie_word_embeddings": False},
            },
            (EMBEDDING,),
            ["lm_head.weight"],
        ),
        ({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}, (EMBEDDING,), []),
        (
            {"architectures": ["XLMWithLMHeadModel"], "model_type": "xlm"},
            ("transformer.embeddings.weight",),
            ["pred_layer.proj.weight"],
        ),
        (
            {"architectures": ["BertForSequenceClassification"]},
            ("bert.embeddings.word_embeddings.weight", "cls.predictions.transform.dense.weight"),
            [],
        ),
        ({"architectures": ["TrOCRForCausalLM"]}, ("model.decoder.embed_tokens.weight",), ["output_projection.weight"]),
        ({"architectures": ["Llama4ForCausalLM"]}, ("model.embed_tokens.weight",), ["lm_head.weight"]),
        ({"architectures": ["Blip2ForConditionalGeneration"]}, (EMBEDDING,), ["language_model.lm_head.weight"]),
        ({"architectures": ["Llama4ForConditionalGeneration"]}, (EMBEDDING,), ["language_model.lm_head.weight"]),
        (
            {"architectures": ["Gemma3ForConditionalGeneration"]},
            ("language_model.model.embed_tokens.weight",),
            ["language_model.lm_head.weight"],
        ),
        (
            {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox"},
            ("gpt_neox.embed_in.weight",),
            ["embed_out.weight"],
        ),
        (
            {"architectures": ["BertGenerationDecoder"]},
            ("bert.embeddings.word_embeddings.weight", "lm_head.bias"),
            ["lm_head.decoder.weight"],
        ),
        (
            {"architectures": ["VisionEncoderDecoderModel"], "decoder": {"model_type": "gpt2"}},
            ("encoder.embed_tokens.weight", "decoder.transformer.wte.weight"),
            ["decoder.lm_head.weight"],
        ),
        (
            {"architectures": ["EncoderDecoderModel"], "decoder": {"tie_word_embeddings": False}},
            ("decoder.transformer.wte.weight",),
            [],
        ),
        (
            {"architectures": ["BarkModel"], "model_type": "bark"},
            tuple(f"fine_acoustics.input_embeds_layers.{i}.weight" for i in range(3)),
            ["fine_acoustics.lm_heads.0.weight", "fine_acoustics.lm_heads.1.weight"],
        ),
    ],
)
def test_which_head_a_file_leaves_out(config: dict[str, Any], names: tuple[str, ...], heads: list[str]) -> None:
    assert head_of(config, *names) == heads


def test_of_shared_layers_the_one_that_files_have_is_shown(tmp_path: Path) -> None:
    config = transformers.ZambaConfig(
        num_hidden_layers=4, layers_block_type=["mamba", "hybrid", "mamba", "hybrid"], n_mamba_heads=2,
        mamba_dt_rank=8, hidden_size=32, attention_hidden_size=64, attention_head_dim=16, num_attention_heads=4,
        num_key_value_heads=4, intermediate_size=48, vocab_size=40, use_mamba_kernels=False,
    )  # fmt: skip
    model = transformers.ZambaForCausalLM(config)
    model.save_pretrained(tmp_path)
    live = {weight.layer_name for weight in module_inventory(model, OPTIONS).weights}
    assert live == {weight.layer_name for weight in open_checkpoint(tmp_path).inventory(OPTIONS).weights}
    assert "model.layers.1.shared_transf.self_attn.q_proj" in live


FUSED = [
    ("jina_embeddings_v3", "roberta.encoder.layers.0.mixer.Wqkv", ("q", "k", "v"), ["attn_q", "attn_k", "attn_v"]),
    ("gte", "encoder.layer.0.mlp.up_gate_proj", ("up", "gate"), ["mlp_up", "mlp_gate"]),
    ("dinov2", "encoder.layer.0.mlp.weights_in", ("gate", "up"), ["mlp_gate", "mlp_up"]),
]


@pytest.mark.parametrize(("model_type", "name", "parts", "categories"), FUSED)
def test_parts_of_equal_size(model_type: str, name: str, parts: tuple[str, ...], categories: list[str]) -> None:
    config = {"model_type": "some_composite", "vision_config": {"model_type": model_type}}
    fused = stack(f"{name}.weight", 12, 8)
    for about in ({"model_type": model_type}, config):
        weights = take_inventory([fused], about).weights
        assert [weight.layer_name for weight in weights] == [f"{name}.{part}" for part in parts]
        assert [weight.category for weight in weights] == categories
    assert len(take_inventory([fused], {"model_type": "another"}).weights) == 1


def test_each_record_says_where_it_was_read() -> None:
    assert all(record.source for record in FAMILIES.values())
