"""A causal language model loaded to be evaluated, and its windows of tokens."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, MissingExtraError, OptionError, PlanError
from alpha_callbacks.evaluation import causal_model, language_model
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.evaluation.writable_weights import matrices, targets
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise
from tests.support.tiny_gguf import write_tiny_gguf

pytest.importorskip("transformers")

TEXT = "The quick brown fox jumps over the lazy dog. " * 200


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_language_model(EMBEDDED)


def copied(folder: Path, **changes: Any) -> Path:
    """Return a copy of the tiny Llama with other entries in its config."""
    shutil.copytree(EMBEDDED, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_loaded_ready_to_be_judged(tiny: LanguageModel) -> None:
    parameters = list(tiny.model.parameters())
    assert not tiny.model.training
    assert not any(parameter.requires_grad for parameter in parameters)
    assert {parameter.dtype for parameter in parameters} == {torch.float32}  # it fits


def test_as_stored_where_fp32_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "device_memory", lambda device: 2**20)
    assert next(load_language_model(EMBEDDED).model.parameters()).dtype is torch.bfloat16
    assert next(load_language_model(EMBEDDED, dtype="fp16").model.parameters()).dtype is torch.float16


def test_a_file_stands_for_its_folder() -> None:
    assert len(matrices(load_language_model(EMBEDDED / "model.safetensors").model)) == 29


def test_loading_leaves_logging_as_found() -> None:
    logging.disable(logging.DEBUG)
    try:
        load_language_model(EMBEDDED)
        assert logging.root.manager.disable == logging.DEBUG
    finally:
        logging.disable(logging.NOTSET)


def test_windows_cut_the_text_into_equal_lengths(tiny: LanguageModel) -> None:
    ids = tiny.tokenizer(TEXT, add_special_tokens=False, verbose=False).input_ids
    windows = tiny.windows_of(TEXT, tokens=600, context=512)  # the model's own limit is 256
    assert windows.shape == (3, 200)
    assert windows.flatten().tolist() == ids[:600]
    assert tiny.windows_of(TEXT, tokens=60, context=32, skip=7).flatten().tolist() == ids[7:67]


def test_each_window_begins_as_the_tokenizer_begins_a_text(tiny: LanguageModel) -> None:
    class WithBeginning:
        def __call__(self, text: str, *, add_special_tokens: bool = True, **options: Any) -> Any:
            found = tiny.tokenizer(text, add_special_tokens=False, **options)
            found["input_ids"] = [0] * add_special_tokens + found.input_ids
            return found

    plain = tiny.windows_of(TEXT, tokens=60, context=30).flatten().tolist()
    windows = LanguageModel("", tiny.model, WithBeginning()).windows_of(TEXT, tokens=60, context=30)
    assert windows.shape == (2, 30)
    assert windows[:, 0].tolist() == [0, 0]
    assert windows[:, 1:].flatten().tolist() == plain[:58]


def test_windows_of_a_file(tiny: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "held out.txt"
    file.write_text(TEXT, encoding="utf-8")
    assert torch.equal(tiny.windows(file, tokens=64), tiny.windows_of(TEXT, tokens=64))
    file.write_text("Too short.", encoding="utf-8")
    with pytest.raises(PlanError, match=r"held out\.txt: expected at least 64 tokens, got \d+\. Give a longer text"):
        tiny.windows(file, tokens=64)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match=r"held out\.txt: expected a text file in UTF-8"):
        tiny.windows(file, tokens=64)
    with pytest.raises(PlanError, match=r"nothing\.txt: expected a text file, found nothing there"):
        tiny.windows(tmp_path / "nothing.txt")


@pytest.mark.parametrize("options", [{"tokens": 1}, {"context": 1}, {"skip": -1}])
def test_no_windows_to_predict_in(tiny: LanguageModel, options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="expected at least 2 tokens a window"):
        tiny.windows_of(TEXT, **options)  # type: ignore[arg-type]


def test_a_window_of_nothing_but_its_beginning(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LanguageModel, "_prefix", lambda self: [0, 0, 0])
    with pytest.raises(OptionError, match="context: expected more than the 3 tokens that begin a text, got 2"):
        tiny.windows_of(TEXT, context=2)


def test_a_window_of_one_token_predicts_nothing(tiny: LanguageModel) -> None:
    with pytest.raises(OptionError, match="tokens: expected at least 2 tokens in each of 2 windows, got 3 in all"):
        tiny.windows_of(TEXT, tokens=3, context=2)


def test_an_adapter_beside_the_model_is_refused(tmp_path: Path) -> None:
    """With PEFT at hand transformers loads it, and the base that it names, without a word."""
    pytest.importorskip("peft")
    folder = copied(tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "other"}')
    with pytest.raises(CheckpointError, match="expected a model alone, got one with adapter_config.json beside it"):
        load_language_model(folder)


def test_quantized_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", quantization_config={"quant_method": "fp8"})
    with pytest.raises(CheckpointError, match="expected float weights, the checkpoint is quantized"):
        load_language_model(folder)


def test_no_code_of_a_checkpoint_runs(tmp_path: Path) -> None:
    folder = copied(
        tmp_path / "model", model_type="mine", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    )
    (folder / "code.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(CheckpointError, match="expected a causal language model with its tokenizer"):
        load_language_model(folder)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="expected a causal language model with its tokenizer"):
        load_language_model(folder)


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """Return a copy of the tiny Llama with other tensors."""
    tensors = load_file(copied(folder) / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_without_a_language_head(tmp_path: Path) -> None:
    folder = rewritten(tmp_path / "model", lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"1 of its parameters are missing .* \(lm_head\.weight, \.\.\.\)"):
        load_language_model(folder)


def test_weights_of_other_shapes_than_the_config_says(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    folder = rewritten(tmp_path / "model", lambda tensors: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(CheckpointError, match=rf"1 of its parameters .* do not fit config\.json \({re.escape(name)}"):
        load_language_model(folder)


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": "three"}, {"rope_parameters": {"rope_type": "unheard of"}}, {"model_type": "mine"}],
)
def test_damaged_config(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = copied(tmp_path / "model", **changes)
    with pytest.raises(CheckpointError, match="expected a causal language model with its tokenizer"):
        load_language_model(folder)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    file = copied(tmp_path / "model") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected a whole safetensors file"):
        load_language_model(file.parent)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("BertForMaskedLM", "expected a causal language model, got BertForMaskedLM, which sees the whole text"),
        ("BertModel", r"expected a causal language model, 6 of its parameters are missing"),
        ("T5ForConditionalGeneration", "Unrecognized configuration class"),
    ],
)
def test_encoders_are_refused(tmp_path: Path, name: str, refused: str) -> None:
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if name.startswith("T5"):
        config: Any = transformers.T5Config(vocab_size=96, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    else:
        config = transformers.BertConfig(**sizes, intermediate_size=64)
    folder = copied(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    getattr(transformers, name)(config).save_pretrained(folder)
    with pytest.raises(CheckpointError, match=refused):
        load_language_model(folder)


def test_weights_without_a_config(tmp_path: Path) -> None:
    save_file({"fc.weight": noise(8, 8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"expected a folder with config\.json"):
        load_language_model(tmp_path)


def test_shards_of_gguf(tmp_path: Path) -> None:
    for shard in (1, 2):
        (tmp_path / f"m-{shard:05d}-of-00002.gguf").write_bytes(b"")
    with pytest.raises(CheckpointError, match="expected one GGUF file, got 2 shards"):
        load_language_model(tmp_path)


@pytest.mark.parametrize(("package", "extra"), [("transformers", "hf"), ("gguf", "gguf"), ("accelerate", "hf")])
def test_missing_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, extra: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"")
    real = causal_model.find_spec
    monkeypatch.setattr(causal_model, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(MissingExtraError, match=rf"\.\[{extra}\]"):
        load_language_model(file)


@pytest.mark.parametrize("tied", [False, True])
def test_a_gguf_file(tiny: LanguageModel, tmp_path: Path, tied: bool) -> None:
    """Read by transformers it is the model that our own reader sees, under the names of the file."""
    pytest.importorskip("gguf")
    file = write_tiny_gguf(tmp_path / "tiny.gguf", tied=tied)
    language = load_language_model(file)
    theirs = tiny.model.state_dict()
    for name, tensor in language.model.state_dict().items():
        expected = theirs["model.embed_tokens.weight" if tied and name == "lm_head.weight" else name]
        assert torch.equal(tensor, expected), name
    weights = open_checkpoint(file).inventory(AnalysisOptions()).weights
    names = {matrix.data_ptr(): name for name, matrix in matrices(language.model).items()}
    found = {target.layers[0].layer_name: target.matrix for target in targets(language.model, weights)}
    assert len(found) == len(weights) == 29
    assert names[found["blk.3.ffn_down"].data_ptr()] == "model.layers.3.mlp.down_proj"
    assert names[found["output"].data_ptr()] == "lm_head"
    for weight in weights:
        if weight.category not in ("attn_q", "attn_k"):  # llama.cpp orders the rows of these in another way
            stored = weight.rows(0, weight.out_features)
            assert torch.equal(found[weight.layer_name], stored.float()), weight.layer_name
    assert torch.equal(language.windows_of(TEXT, tokens=128), tiny.windows_of(TEXT, tokens=128))
    assert not hasattr(language.model.config, "quantization_config")


@pytest.mark.evidence  # it needs the folder of 540 MB that only the evidence uses
@pytest.mark.real
def test_gguf_is_the_folder_made_from_it(smollm2: Path, smollm2_folder: Path) -> None:
    assert len(open_checkpoint(smollm2).inventory(AnalysisOptions()).weights) == 211
    file, folder = load_language_model(smollm2), load_language_model(smollm2_folder)
    theirs = folder.model.state_dict()
    for name, tensor in file.model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert torch.equal(file.windows_of(TEXT, tokens=128), folder.windows_of(TEXT, tokens=128))
    assert not hasattr(file.model.config, "quantization_config")
