"""Random plans: equal bits, the plan's own formats, tied layers, seeds."""

from collections import Counter
from dataclasses import replace

import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.random_plans import random_plans
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.tied_groups import units

PARTS = {
    "self_attn.q_proj": ("attn_q", 576, 576), "self_attn.k_proj": ("attn_k", 192, 576),
    "self_attn.v_proj": ("attn_v", 192, 576), "self_attn.o_proj": ("attn_o", 576, 576),
    "mlp.gate_proj": ("mlp_gate", 1536, 576), "mlp.up_proj": ("mlp_up", 1536, 576),
    "mlp.down_proj": ("mlp_down", 576, 1536),
}  # fmt: skip


def llama(*formats: str, blocks: int = 30) -> Plan:
    """Return a plan of SmolLM2's shapes in which blocks take turns with these formats."""
    choices = [
        Choice(f"model.layers.{block}.{part}", *shape, formats[block % len(formats)])
        for block in range(blocks)
        for part, shape in PARTS.items()
    ]
    return Plan((*choices, Choice("lm_head", "lm_head", 49152, 576, "bf16", budgeted=False)))


def formats(plan: Plan) -> list[str]:
    return [choice.precision for choice in plan.choices]


def shares(plan: Plan) -> dict[str, float]:
    counted = Counter[str]()
    for choice in plan.choices:
        counted[choice.precision] += choice.numel * choice.budgeted
    return {name: count / counted.total() for name, count in counted.items()}


@pytest.mark.parametrize(
    "names", [("int3_g32", "int4_g32"), ("int4_g32", "int8_g32"), ("int3_g32", "int4_g32", "int8_g32", "bf16")]
)
def test_equal_bits_same_formats_tied(names: tuple[str, ...]) -> None:
    plan = llama(*names)
    for dealt in random_plans(plan, 5, seed=3):
        assert dealt.average_bits() == pytest.approx(plan.average_bits(), abs=0.01)
        assert formats(dealt) != formats(plan)
        for name, share in shares(plan).items():
            assert shares(dealt).get(name, 0) == pytest.approx(share, abs=0.12), name
        for group in units(dealt.choices):
            assert len({dealt.choices[i].precision for i in group}) == 1
        assert dealt.choices[-1] == replace(plan.choices[-1], reason="")


def test_few_blocks_of_uneven_sizes_meet_the_bits_too() -> None:
    plan = llama("int4_g32", "int8_g32", blocks=4)
    for dealt in random_plans(plan, 8):
        assert abs(dealt.average_bits() - plan.average_bits()) <= 0.01


def test_seeds() -> None:
    plan = llama("int3_g32", "int4_g32")
    assert random_plans(plan, 3, seed=1) == random_plans(plan, 3, seed=1)
    assert random_plans(plan, 3, seed=1) == random_plans(plan, 5, seed=1)[:3]
    first, other = (random_plans(plan, 3, seed=seed) for seed in (1, 2))
    assert len({tuple(formats(dealt)) for dealt in (*first, *other)}) == 6


def test_groups_of_the_callers() -> None:
    plan = llama("int3_g32", "int4_g32")
    untied = random_plans(plan, 1, groups=[(i,) for i in range(len(plan.choices))])[0]
    assert any(len({untied.choices[i].precision for i in group}) > 1 for group in units(untied.choices))


def test_one_format_leaves_nothing_to_deal() -> None:
    assert random_plans(llama("int4_g32"), 3) == []


def test_layers_that_a_format_cannot_store() -> None:
    odd = [Choice(f"odd.{i}", "other", 64, 48, "int4_g32", budgeted=True) for i in range(8)]
    even = [Choice(f"even.{i}", "other", 64, 64, ("int4_g32", "gguf_q8_0")[i % 2], budgeted=True) for i in range(16)]
    pytest.importorskip("gguf")
    for dealt in random_plans(Plan((*odd, *even)), 4):
        assert {choice.precision for choice in dealt.choices[:8]} == {"int4_g32"}


def test_no_other_plan_has_these_bits() -> None:
    choices = (Choice("a", "other", 64, 64, "int4_g32"), Choice("b", "other", 512, 512, "int8"))
    plan = Plan(choices)
    assert {tuple(formats(dealt)) for dealt in random_plans(plan, 3)} == {("int4_g32", "int8")}  # itself
    uneven = Plan((replace(choices[0], precision="int8"), replace(choices[1], precision="int4_g32")))
    with pytest.raises(PlanError, match=r"random plans: expected formats that can be dealt out again .* found none"):
        random_plans(uneven, 1, groups=[(0, 1)])
