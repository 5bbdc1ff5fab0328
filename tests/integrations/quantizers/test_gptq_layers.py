"""Checkpoints rounded by GPTQ: the readers of either format find exactly its codes, and it says what it left."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from alpha_integrations.quantizers import gptq_layers as module

import alpha_callbacks
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import OptionError, PlanError
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import Rounding, write_model
from alpha_callbacks.precisions.gptq_rounding import Codes
from alpha_callbacks.precisions.registry import get_precision
from tests.conftest import REPOSITORY

pytest.importorskip("compressed_tensors")
pytest.importorskip("torchao")
transformers = pytest.importorskip("transformers")

TINY = Path(alpha_callbacks.__file__).parent / "assets" / "tiny_llama"
BY_TEXT = Rounding("gptq", REPOSITORY / "LICENSE", 256)
LAYERS = open_checkpoint(TINY).inventory(AnalysisOptions()).weights
FORMATS = ("int4", "int8", "int3", "fp8", "bf16", "int4:channel")


def plan(*formats: str) -> Plan:
    names = [get_precision(formats[i % len(formats)]).name for i in range(len(LAYERS))]
    return Plan(tuple(replace(layer, precision=n) for layer, n in zip(layers_of(LAYERS), names, strict=True)))


@pytest.fixture(scope="module", params=["compressed-tensors", "torchao"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the codes as they were made, the notes, and the folder."""
    out, kept = tmp_path_factory.mktemp("gptq") / "model", dict[str, Codes]()
    original = module.gptq_codes

    with pytest.MonkeyPatch.context() as patch:
        made = list[Codes]()
        patch.setattr(module, "gptq_codes", lambda *a, **k: made.append(original(*a, **k)) or made[-1])  # type: ignore[func-returns-value]
        notes = write_model(TINY, plan(*FORMATS), out, request.param, rounding=BY_TEXT)
    integers = [choice.layer_name for choice in plan(*FORMATS).choices if choice.precision.startswith("int")]
    kept.update(zip(integers, made, strict=True))
    return {"codes": kept, "notes": notes, "out": out}


def test_every_reader_finds_the_codes(written: dict[str, Any]) -> None:
    loaded = transformers.AutoModelForCausalLM.from_pretrained(written["out"])
    loaded(torch.arange(3, 9)[None])  # decodes compressed-tensors
    scanned = {w.layer_name: w for w in open_checkpoint(written["out"]).inventory(AnalysisOptions()).weights}
    assert len(written["codes"]) == sum(c.precision.startswith("int") for c in plan(*FORMATS).choices)
    for name, codes in written["codes"].items():
        expected = codes.weight().bfloat16()
        stored = loaded.get_submodule(name).weight
        assert torch.equal(stored.dequantize() if hasattr(stored, "qdata") else stored, expected), name
        assert torch.equal(scanned[name].rows(0, scanned[name].out_features).bfloat16(), expected), name


def test_what_it_says(written: dict[str, Any]) -> None:
    notes = written["notes"]
    assert notes[0].startswith(f"GPTQ rounded {len(written['codes'])} layers by their inputs on 256 tokens of ")
    assert notes[1].startswith("256 tokens are few for layers of 512 columns") and "--tokens 4096 or more" in notes[1]
    assert "rounded to nearest, since GPTQ here is for symmetric integers by group or row: fp8_e4m3." in notes[2]


def test_outputs_are_closer_and_the_source_is_unchanged(tmp_path: Path) -> None:
    before = (TINY / "model.safetensors").read_bytes()
    write_model(TINY, plan("int3"), tmp_path / "near", "compressed-tensors")
    write_model(TINY, plan("int3"), tmp_path / "gptq", "compressed-tensors", rounding=BY_TEXT)
    base = load_language_model(TINY, dtype="fp32")
    windows = base.windows(REPOSITORY / "LICENSE", tokens=256, skip=512)
    with torch.no_grad():
        expected = base.model(input_ids=windows).logits.log_softmax(-1)
        kl = {}
        for name in ("near", "gptq"):
            model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)
            found = model(input_ids=windows).logits.log_softmax(-1)
            kl[name] = float((expected.exp() * (expected - found)).sum(-1).mean())
    assert kl["gptq"] < 0.8 * kl["near"]
    assert (TINY / "model.safetensors").read_bytes() == before


def test_layers_without_inputs_are_rounded_to_nearest_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.input_products

    def products(*given: Any) -> Any:
        for i, (name, found) in enumerate(original(*given)):
            found[:, :3] = found[:3] = 0
            yield name, torch.zeros_like(found) if i == 1 else found

    monkeypatch.setattr(module, "input_products", products)
    notes = write_model(TINY, plan("int4"), tmp_path / "out", "compressed-tensors", rounding=BY_TEXT)
    assert notes[2].startswith(
        f"1 layers had no input on this text and are rounded to nearest, e.g. {LAYERS[1].layer_name}"
    )
    assert notes[3].startswith(f"{3 * (len(LAYERS) - 1)} columns of {len(LAYERS) - 1} layers had no input")
    source = LAYERS[1].rows(0, LAYERS[1].out_features).float()
    nearest = get_precision("int4").round_trip(source, 1.0)
    read = open_checkpoint(tmp_path / "out").inventory(AnalysisOptions()).weights[1]
    assert float((read.rows(0, read.out_features).float() - nearest).norm() / nearest.norm()) < 0.04  # scales in bf16


@pytest.mark.parametrize("target", ["compressed-tensors", "torchao", "gguf"])
def test_refusals(target: str, tmp_path: Path) -> None:
    out, text = tmp_path / "out", tmp_path / "short.txt"
    text.write_text("too short")
    if target == "gguf":
        pytest.importorskip("gguf")
        with pytest.raises(PlanError, match="gguf: expected another --rounding than gptq"):
            write_model(TINY, plan("gguf:q8_0"), out, target, rounding=BY_TEXT)
        return
    for wrong, rounding, message in (
        (plan("fp8"), BY_TEXT, "expected symmetric integers by group or row for GPTQ, got fp8_e4m3"),
        (plan("int4"), replace(BY_TEXT, calibration=text), r"short\.txt: expected at least 256 tokens, got"),
        (plan("int4"), replace(BY_TEXT, method="imatrix"), f"{target}: expected another --rounding than imatrix"),
    ):
        with pytest.raises(PlanError, match=message):
            write_model(TINY, wrong, out, target, rounding=rounding)
    assert not out.exists()


def test_inputs_that_are_not_finite(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(TINY, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.embed_tokens.weight"][:] = torch.inf
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(PlanError, match=r"q_proj: expected finite inputs, got nan or inf on the calibration text"):
        write_model(broken, plan("int4"), tmp_path / "out", "compressed-tensors", rounding=BY_TEXT)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, bare)
    with pytest.raises(PlanError, match="bare: expected a tokenizer for the calibration text"):
        write_model(bare, plan("int4"), tmp_path / "out", "compressed-tensors", rounding=BY_TEXT)


def test_too_few_tokens_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no: expected a text file, found nothing there"):
        Rounding("gptq", tmp_path / "no")
    with pytest.raises(OptionError, match="tokens: expected at least 2, got 1"):
        Rounding("gptq", Path("text"), 1)
