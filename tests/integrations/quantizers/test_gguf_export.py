import sys
from dataclasses import replace

import pytest
from alpha_integrations.quantizers.gguf_export import export

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
from tests.support.plan_examples import plan_of

gguf = pytest.importorskip("gguf")


def test_names_of_a_file_are_taken_as_they_are() -> None:
    plan = plan_of({"blk.0.ffn_up": "gguf:q4_0", "blk.10.attn_q": "bf16", "output": "fp16", "blk.1.attn_k": "fp32"})
    assert export(plan).text.splitlines() == [
        r"^blk\.0\.ffn_up\.weight$=q4_0",
        r"^blk\.10\.attn_q\.weight$=bf16",
        r"^output\.weight$=f16",
        r"^blk\.1\.attn_k\.weight$=f32",
        r"^token_embd\.weight$=bf16",  # else it would be what the command line says, Q8_0
    ]


def test_types_are_those_of_ggml() -> None:
    kinds = [line.rpartition("=")[2] for line in export(plan_of({"blk.0.ffn_up": "mxfp4:floor"})).text.split()]
    assert all(kind.upper() in gguf.GGMLQuantizationType.__members__ for kind in kinds)


def test_modules_of_the_llama_family_are_renamed() -> None:
    layers = {
        f"model.layers.11.{name}": "gguf:q8_0" for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")
    }
    lines = export(plan_of({**layers, "lm_head": "bf16", "model.embed_tokens": "bf16"})).text.splitlines()
    assert lines == [
        r"^blk\.11\.attn_q\.weight$=q8_0",
        r"^blk\.11\.attn_output\.weight$=q8_0",
        r"^blk\.11\.ffn_up\.weight$=q8_0",
        r"^output\.weight$=bf16",
        r"^token_embd\.weight$=bf16",
    ]


def test_a_head_that_is_the_embedding_names_the_tensor_of_both() -> None:
    plan = plan_of({"blk.0.ffn_up": "gguf:q8_0", "output": "fp16"})
    tied = replace(plan, choices=(plan.choices[0], replace(plan.choices[1], tied_to="token_embd")))
    assert export(tied).text.splitlines()[1:] == [r"^token_embd\.weight$=f16"]


def test_experts_of_one_tensor_are_one_line() -> None:
    plan = plan_of({f"blk.3.{expert}.ffn_up_exps": "gguf:q4_0" for expert in range(8)})
    assert export(plan).text.splitlines()[0] == r"^blk\.3\.ffn_up_exps\.weight$=q4_0"
    mixed = plan_of({"blk.3.0.ffn_up_exps": "gguf:q4_0", "blk.3.1.ffn_up_exps": "bf16"})
    with pytest.raises(PlanError, match=r"blk\.3\.ffn_up_exps\.weight: expected one type for all that it holds"):
        export(mixed)


def test_parts_of_one_tensor_are_one_line() -> None:
    fused = ("blk.3.attn_qkv.q", "blk.3.attn_qkv.k", "blk.3.ffn_up.gate", "blk.3.ffn_up.up")
    plan = plan_of(dict.fromkeys((*fused, "blk.3.0.ffn_gate_up_exps.gate", "blk.3.1.ffn_gate_up_exps.up"), "gguf:q4_0"))
    assert [line.partition("=")[0] for line in export(plan).text.splitlines()][:3] == [
        r"^blk\.3\.attn_qkv\.weight$",
        r"^blk\.3\.ffn_up\.weight$",
        r"^blk\.3\.ffn_gate_up_exps\.weight$",
    ]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (plan_of({"encoder.fc": "gguf:q8_0"}), r"has, got 1 \(e\.g\. encoder\.fc\) that none has"),
        (
            plan_of({"blk.0.ffn_up": "gguf:q8_0"}, columns=48),
            r"multiple of 32 for gguf_q8_0, got 48 for blk\.0\.ffn_up",
        ),
        (plan_of({"blk.0.ffn_up": "mxfp4:floor"}, columns=48), r"multiple of 32 for mxfp4_floor, got 48"),
        (
            plan_of({"blk.0.ffn_up": "int8"}),
            r"int8 and int4 are other numbers than Q8_0 and Q4_0: scan with --precisions",
        ),
    ],
)
def test_refusals(plan: Plan, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        export(plan)


def test_notes_give_the_command() -> None:
    command, source = export(plan_of({"blk.0.ffn_up": "gguf:q8_0"})).notes
    assert "llama-quantize --tensor-type-file FILE MODEL.gguf OUT.gguf Q8_0" in command
    assert "--allow-requantize" in source
    assert "ties towards zero" in export(plan_of({"blk.0.ffn_up": "mxfp4:floor"})).notes[2]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"model.layers.0.mlp.up_proj": "mxfp4:floor"})
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r'pip install -c constraints.txt "\.\[gguf\]"'):
        export(plan)
