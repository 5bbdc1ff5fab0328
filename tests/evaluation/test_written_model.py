"""Checkpoints that were written, judged against their source: by hand, and beside the plan that they were made from."""

import gc
import importlib
import json
import shutil
import struct
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, PlanError
from alpha_callbacks.evaluation.evaluate import evaluate
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.evaluation.written_model import written_model
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import write_model
from tests.support.language_models import licence, plan_of
from tests.support.tiny_gguf import write_tiny_gguf

transformers: Any = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Return the embedded model from a folder in fp32, so that scales are stored in fp32 too."""
    folder = tmp_path_factory.mktemp("source") / "model"
    shutil.copytree(EMBEDDED, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    values = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    return load_language_model(folder)


@pytest.fixture(scope="module")
def plan(tiny: LanguageModel) -> Plan:
    planned = plan_of(tiny.model, "int4:g32", "int8:g32")
    wide = (replace(c, precision="fp32") if not c.budgeted else c for c in planned.choices)
    return replace(planned, choices=tuple(wide))


@pytest.fixture(scope="module")
def quantized(tiny: LanguageModel, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized") / "model"
    write_model(tiny.source, plan, folder, "compressed-tensors")
    return folder


@torch.no_grad()
def divergence(one: nn.Module, other: nn.Module, windows: Tensor) -> float:
    p, q = (
        torch.stack([model(input_ids=window[None]).logits[0, :-1].double() for window in windows]).log_softmax(-1)
        for model in (one, other)
    )
    return float(F.kl_div(q, p, log_target=True, reduction="none").sum(-1).mean())


def test_the_plan_its_checkpoint_and_transformers_agree(tiny: LanguageModel, plan: Plan, quantized: Path) -> None:
    windows = licence(tiny)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(quantized, dtype=torch.float32)
    expected = divergence(tiny.model, theirs, windows)
    scores = {s.name: s for s in evaluate(tiny.model, plan, windows, written={"out": written_model(quantized, tiny)})}
    assert list(scores)[-2:] == ["plan", "checkpoint out"] and expected > 0.005
    assert scores["checkpoint out"].kl == pytest.approx(expected, rel=1e-4)
    assert scores["plan"].kl == pytest.approx(expected, rel=1e-4)


def test_plan_and_gguf_file_agree(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    file = write_tiny_gguf(tmp_path / "source.gguf")
    layers = layers_of(open_checkpoint(file).inventory(AnalysisOptions()).weights)
    plan = Plan(tuple(replace(c, precision="fp32" if c.layer_name == "output" else "gguf:q4_0") for c in layers))
    write_model(file, plan, tmp_path / "out", "gguf")
    source = load_language_model(file)
    scores = evaluate(source.model, plan, licence(source), written={"out": written_model(tmp_path / "out", source)})
    assert scores[-1].name == "checkpoint out" and scores[-1].kl > 0.005
    assert scores[-1].kl == pytest.approx(scores[-2].kl, rel=1e-5)
    folder = load_language_model(EMBEDDED)  # and one format may be judged against another
    (other,) = evaluate(folder.model, {}, licence(folder), written={"out": written_model(tmp_path / "out", folder)})[1:]
    assert other.kl == pytest.approx(scores[-1].kl, rel=1e-5)


def test_a_copy_has_no_divergence_and_is_let_go(tiny: LanguageModel) -> None:
    load, kept = written_model(tiny.source, tiny), list[Any]()

    def watched() -> nn.Module:
        gc.collect()
        assert all(each() is None for each in kept)  # the one before
        model = load()
        kept.append(weakref.ref(model.get_parameter("lm_head.weight")))
        return model

    base, *copies = evaluate(tiny.model, {}, licence(tiny), written={"a": watched, "b": watched})
    assert [(copy.name, copy.kl, copy.top1) for copy in copies] == [("checkpoint a", 0, 1), ("checkpoint b", 0, 1)]
    assert copies[0].perplexity == base.perplexity and copies[0].average_bits != copies[0].average_bits
    with pytest.raises(PlanError, match="at least one plan"):
        evaluate(tiny.model, {}, licence(tiny))
    with pytest.raises(PlanError, match="checkpoint x: expected another name"):
        evaluate(tiny.model, {"checkpoint x": plan_of(tiny.model, "int4")}, licence(tiny))


def changed(folder: Path, change: Callable[[dict[str, Tensor]], object], **config: Any) -> Path:
    """Return a copy of the embedded model with other tensors, and other entries in its config."""
    shutil.copytree(EMBEDDED, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    before = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**before, **config}))
    return folder


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (dict.copy, {"num_hidden_layers": 3}, r"layers\.3\.\S+ is 192x192 in the model and missing in the checkpoint"),
        (dict.copy, {"num_hidden_layers": 5}, r"layers\.4\.\S+ is missing in the model and 192x192 in the checkpoint"),
        (dict.copy, {"intermediate_size": 256}, r"_proj\.weight is 512x192 in the model and 256x192 in the checkpoint"),
        (dict.copy, {"model_type": "gpt_neox"}, r"other \(GPTNeoX\w+\): expected .* of .*source.*LlamaForCausalLM"),
        (lambda tensors: tensors.pop("model.norm.weight"), {}, r"other: .* 1 of its parameters are .*model\.norm"),
        (
            lambda tensors: tensors.update({"model.layers.0.mlp.up_proj.weight": torch.zeros(512, 192).char()}),
            {"quantization_config": {"quant_method": "fancy"}},
            r"other: expected weights that can be decoded, got 1 tensors that cannot, e\.g\. \S+0\.mlp\.up",
        ),
        (
            dict.copy,
            {"quantization_config": {"transform_config": {"config_groups": {"u": {}}}}},
            r"other: expected weights that are multiplied with the inputs as they come, got .*transform_config",
        ),
    ],
)  # fmt: skip
def test_another_model_is_refused_and_both_are_named(
    tiny: LanguageModel, tmp_path: Path, change: Any, config: dict[str, Any], message: str
) -> None:
    folder = changed(tmp_path / "other", change, **config)
    with pytest.raises(CheckpointError, match=message):
        written_model(folder, tiny)()


def test_predictions_that_are_no_numbers_are_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    folder = changed(tmp_path / "nan", lambda tensors: tensors["model.norm.weight"].fill_(torch.nan))
    with pytest.raises(
        PlanError, match=r"expected predictions of checkpoint x, got nan or inf\. The weights are damaged"
    ):
        evaluate(tiny.model, {}, licence(tiny), written={"x": written_model(folder, tiny)})


def test_what_else_than_weights_differs_is_told(
    tiny: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written_model(changed(tmp_path / "same", dict.copy), tiny)()
    assert not caplog.records
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.ones(192)}
    load = written_model(changed(tmp_path / "more", lambda tensors: tensors.update(extra), rms_norm_eps=1e-3), tiny)
    load()
    load()  # for the next windows
    config, surplus = (record.getMessage() for record in caplog.records)
    assert (
        "more computes by another config than" in config and "rms_norm_eps is 1e-06 in the model and 0.001 in" in config
    )
    assert "1 of its tensors have no place in LlamaForCausalLM and count for nothing, e.g. model.layers.0" in surplus


def with_tokens(folder: Path, *texts: tuple[str, str]) -> Path:
    """Return a copy of the embedded model in which each pair of texts has changed places, or one has a new name."""
    shutil.copytree(EMBEDDED, folder)
    about = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    names = {one: other for pair in texts for one, other in (pair, pair[::-1])}
    about["model"]["vocab"] = {names.get(text, text): i for text, i in about["model"]["vocab"].items()}
    about["model"]["merges"] = [m for m in about["model"]["merges"] if not {*m, "".join(m)} & names.keys()]
    (folder / "tokenizer.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_tokens_in_another_order_are_refused(
    tiny: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Vocabularies of one size: the parameters are alike, the ids mean other texts."""
    message = (
        r"swapped: expected the tokens of .*source.*2 of \d+ ids stand for other texts: \d+ is '[AB]' in the model"
    )
    with pytest.raises(CheckpointError, match=message):
        written_model(with_tokens(tmp_path / "swapped", ("A", "B")), tiny)
    assert not caplog.records
    written_model(with_tokens(tmp_path / "renamed", ("A", "<new>")), tiny)
    (record,) = caplog.records
    assert "renamed: 1 of " in record.getMessage() and "is 'A' in the model and '<new>' in the" in record.getMessage()


def test_a_vocabulary_that_cannot_be_compared(
    tiny: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = with_tokens(tmp_path / "other")
    (folder / "tokenizer.json").write_text("{")
    written_model(folder, tiny)
    (record,) = caplog.records
    assert "Whether its tokens are those of the model is not known." in record.getMessage()
    (folder / "tokenizer.json").unlink()
    written_model(folder, tiny)  # it brings none
    assert len(caplog.records) == 1


def test_tokens_of_a_gguf_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    file = write_tiny_gguf(tmp_path / "model.gguf")
    one, other = (struct.pack("<Q", 1) + letter for letter in (b"A", b"B"))
    stored = file.read_bytes()
    assert stored.count(one + other) == 1  # side by side in the list
    swapped = tmp_path / "swapped.gguf"
    swapped.write_bytes(stored.replace(one + other, other + one))
    reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    bar = reader.tqdm
    folder, source = load_language_model(EMBEDDED), load_language_model(file)
    assert "GGUF tensors" not in capfd.readouterr().err and reader.tqdm is bar  # no bar, and bars as found
    written_model(file, folder)
    for model in (folder, source):
        with pytest.raises(CheckpointError, match="swapped.gguf: expected the tokens of .*2 of .* is 'A' in the model"):
            written_model(swapped, model)


def test_an_adapter_is_no_model_to_judge(tiny: LanguageModel, tmp_path: Path) -> None:
    up = "base_model.model.model.layers.0.mlp.up_proj"
    factors = {f"{up}.lora_A.weight": torch.ones(4, 192), f"{up}.lora_B.weight": torch.ones(512, 4)}
    save_file(factors, tmp_path / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "base_model_name_or_path": "a/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(about))
    message = "expected a whole model, got an adapter of a/base. Merge it into its base .*merge_and_unload"
    with pytest.raises(CheckpointError, match=message):
        written_model(tmp_path, tiny)


def test_a_big_endian_file_is_named_as_one(
    tiny: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf: Any = pytest.importorskip("gguf")
    monkeypatch.setattr(gguf, "GGUFWriter", partial(gguf.GGUFWriter, endianess=gguf.GGUFEndian.BIG))
    file = write_tiny_gguf(tmp_path / "big.gguf")
    with pytest.raises(CheckpointError, match="big.gguf: expected a little-endian GGUF file, got a big-endian one"):
        written_model(file, tiny)


def test_factors_of_rotary_positions_in_a_gguf_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Llama 3.1's are a tensor of the file, which transformers does not read; its config has them in words."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    entries = json.loads((EMBEDDED / "config.json").read_text())["rope_parameters"]
    scaled = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaled["original_max_position_embeddings"] = 64
    folder = changed(tmp_path / "llama3", dict.copy, rope_parameters={**entries, **scaled})
    source, plain = load_language_model(folder), load_language_model(EMBEDDED)
    factors = plain.model.model.rotary_emb.inv_freq / source.model.model.rotary_emb.inv_freq
    assert factors.max() == 8 and factors.min() == 1
    file = write_tiny_gguf(tmp_path / "llama3.gguf", more={"rope_freqs.weight": factors.numpy()})
    (score,) = evaluate(source.model, {}, licence(source), written={"x": written_model(file, source)})[1:]
    (other,) = evaluate(plain.model, {}, licence(plain), written={"x": written_model(file, plain)})[1:]
    assert score.kl < 1e-9 < 1e-4 < other.kl and not caplog.records
    assert gguf.GGUFReader(file).get_tensor(0).name == "rope_freqs.weight"
