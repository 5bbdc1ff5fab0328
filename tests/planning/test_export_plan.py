"""What every exporter owes: no layer that a plan keeps at 16 bits is quantized by the tool that reads the export."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import export_plan, targets
from alpha_callbacks.planning.plan import Plan
from tests.support.plan_examples import TARGETS, WIDE, plan_of


def test_every_exporter_is_judged() -> None:
    assert set(targets()) == {"plan", *TARGETS}


def _judged(target: str, plan: Plan) -> dict[str, str]:
    return TARGETS[target].judge(export_plan(plan, target), plan)


def _low(plan: Plan) -> set[str]:
    return {choice.layer_name for choice in plan.choices if choice.low_bit}


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
def test_what_a_plan_keeps_is_kept_and_what_it_quantizes_is_quantized(target: str, data: st.DataObject) -> None:
    facts = TARGETS[target]
    seed = data.draw(st.integers(0, 2**32 - 1))
    names = random.Random(seed).sample(facts.names, data.draw(st.integers(2, len(facts.names))))
    formats = facts.low if facts.mixed else (data.draw(st.sampled_from(facts.low)),)
    chosen = {name: data.draw(st.sampled_from((*WIDE, *formats))) for name in names}
    plan = plan_of(
        {**chosen, names[0]: data.draw(st.sampled_from(formats)), names[1]: data.draw(st.sampled_from(WIDE))}
    )
    assert set(_judged(target, plan)) == _low(plan)


EACH = [(target, name) for target, facts in TARGETS.items() for name in facts.names]


@pytest.mark.parametrize(("target", "kept"), EACH)
def test_one_layer_is_kept_among_all_others(target: str, kept: str) -> None:
    facts = TARGETS[target]
    plan = plan_of({name: "bf16" if name == kept else facts.low[0] for name in facts.names})
    assert set(_judged(target, plan)) == set(facts.names) - {kept}


@pytest.mark.parametrize(("target", "low"), EACH)
def test_one_layer_is_quantized_among_all_others(target: str, low: str) -> None:
    facts = TARGETS[target]
    plan = plan_of({name: facts.low[0] if name == low else "bf16" for name in facts.names})
    assert set(_judged(target, plan)) == {low}


@pytest.mark.parametrize("target", TARGETS)
def test_the_judge_finds_the_bug_of_the_upstream_exporter(target: str) -> None:
    # It wrote the layers kept at 16 bits as a low-bit format; a judge that overlooks this would be no judge.
    facts = TARGETS[target]
    names, format_ = facts.names[:2], facts.low[0]
    wrong = export_plan(plan_of(dict.fromkeys(names, format_)), target)
    plan = plan_of({names[0]: format_, names[1]: "bf16"})
    assert set(facts.judge(wrong, plan)) - _low(plan) == {names[1]}


@pytest.mark.parametrize("target", TARGETS)
def test_files_end_in_a_newline(target: str) -> None:
    export = export_plan(plan_of({TARGETS[target].names[0]: TARGETS[target].low[0]}), target)
    assert export.text.endswith("\n") and export.suffix in (".json", ".yaml", ".txt")


@pytest.mark.parametrize("target", TARGETS)
def test_a_layer_that_shares_its_storage_is_refused(target: str) -> None:
    facts = TARGETS[target]
    plan = plan_of({facts.names[-1]: facts.low[0], facts.names[0]: facts.low[0]})
    tied = replace(plan, choices=tuple(replace(c, tied_to="token_embd") for c in plan.choices))
    with pytest.raises(PlanError, match=r"expected 16 bits for .*, which shares its storage with token_embd"):
        export_plan(tied, target)


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "gguf"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blk.0.attn_q", "expected module paths, got blk.0.attn_q, a tensor of a GGUF file"),
        ("model.embed_tokens", r"expected a linear layer, got model.embed_tokens \(embedding\)"),
    ],
)
def test_what_is_no_linear_layer_is_refused(target: str, name: str, message: str) -> None:
    with pytest.raises(PlanError, match=f"{target}: {message}"):
        export_plan(plan_of({name: TARGETS[target].low[0]}), target)


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "gguf"])
def test_a_plan_without_anything_to_quantize_is_refused(target: str) -> None:
    with pytest.raises(PlanError, match=f"{target}: expected a layer below 16 bits, got none"):
        export_plan(plan_of({"fc": "bf16"}), target)


@pytest.mark.parametrize(
    ("target", "format_"),
    [
        *(("auto-round", f) for f in ("int6", "int8:asym", "fp8", "mxfp4", "int4:tensor")),
        *(("gptqmodel", f) for f in ("int6", "fp8", "nf4", "int4:tensor")),
        *(("mlx", f) for f in ("int4", "int8", "fp8", "mxfp4", "mxfp4:floor", "nvfp4", "int4:asym:g16")),
        *(("modelopt", f) for f in ("int4", "mxfp4", "fp8:block128", "nf4")),
        *(("bitsandbytes", f) for f in ("int8", "int4", "nf4:b128", "fp4")),
        *(("compressed-tensors", f) for f in ("nf4", "e5m2", "mxfp6_e3m2", "mxfp8_e5m2", "mxfp4:floor", "mxfp8:even")),
        *(("compressed-tensors", f) for f in ("fp4", "fp8:none", "gguf:q8_0")),
        *(("llm-compressor", f) for f in ("nf4", "e5m2", "gguf:q8_0")),
        *(("gguf", f) for f in ("int8", "int4", "fp8", "mxfp4", "nf4", "nvfp4", "mxfp4:rceil")),
        *(
            ("layer-config", f)
            for f in ("nf4", "nvfp4", "e5m2", "int4:asym", "gguf:q8_0", "int4:channel", "mxfp4:floor")
        ),
        *(("layer-config", f) for f in ("fp8:tensor", "fp8:none", "fp8:block128", "mxfp6_e3m2")),
        *(
            ("torchao", f)
            for f in ("mxfp8", "mxfp4", "nf4", "fp4", "fp8:none", "fp8:block128", "gguf:q4_0", "int4:tensor")
        ),
    ],
)
def test_a_format_that_a_target_lacks_is_refused(target: str, format_: str) -> None:
    name = TARGETS[target].names[0]
    with pytest.raises(
        PlanError, match=rf"^{target}: cannot hold .* \(1 layers, e.g. {name}\). It holds .* --candidates"
    ):
        export_plan(plan_of({name: format_, "fc": "bf16"} if target != "gguf" else {name: format_}), target)


@pytest.mark.parametrize(
    ("target", "format_"),
    [("compressed-tensors", "int4"), ("compressed-tensors", "fp8:block128"), ("torchao", "int4"), ("torchao", "nvfp4")],
)
def test_rows_that_do_not_divide_are_refused(target: str, format_: str) -> None:
    with pytest.raises(PlanError, match=r"expected in_features that is a multiple of \d+ for .*, got 100 for fc"):
        export_plan(plan_of({"fc": format_}, columns=100), target)


def test_columns_that_torchao_cannot_take_are_refused() -> None:
    with pytest.raises(
        PlanError, match=r"torchao: cannot hold nvfp4 .* nvfp4 only where out_features is a multiple of 16"
    ):
        export_plan(plan_of({"fc": "nvfp4"}, rows=100), "torchao")


def test_fused_parts_with_two_precisions_are_refused() -> None:
    plan = plan_of({"h.0.qkv_proj.q": "int8", "h.0.qkv_proj.k": "int4", "h.0.qkv_proj.v": "int8"})
    for target in ("compressed-tensors", "torchao", "layer-config"):
        with pytest.raises(PlanError, match=r"h.0.qkv_proj: expected one precision for the parts of a fused matrix"):
            export_plan(plan, target)


@pytest.mark.parametrize("target", ["compressed-tensors", "torchao", "llm-compressor"])
def test_a_scale_of_a_whole_fused_matrix_is_noted(target: str) -> None:
    parts = ["h.0.qkv_proj.q", "h.0.qkv_proj.k", "h.0.qkv_proj.v", "h.0.o_proj"]
    note = export_plan(plan_of(dict.fromkeys(parts, "nvfp4")), target).notes[-2]
    assert note.startswith("1 fused modules (e.g. h.0.qkv_proj) have one scale of the whole matrix")
    for precision, names in (("int8", parts), ("nvfp4", parts[3:])):
        assert not any(
            "fused modules" in note for note in export_plan(plan_of(dict.fromkeys(names, precision)), target).notes
        )


def test_unknown_target() -> None:
    with pytest.raises(PlanError, match=r"format: expected one of plan, auto-round, .*, got 'awq'"):
        export_plan(plan_of({"fc": "int8"}), "awq")
