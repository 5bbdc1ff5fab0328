from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_checks import check_model, check_plan
from tests.support.architectures import choices_of

PLAN = Plan(choices_of(EMBEDDED), model="somewhere/model")


def test_the_plan_of_a_model_passes() -> None:
    check_plan(PLAN, EMBEDDED)
    check_model(PLAN, EMBEDDED)


def test_other_words_for_the_same_layers_pass_for_evaluate_only() -> None:
    gguf = Plan(
        (Choice("blk.0.attn_q", "attn_q", 192, 192, "int8"), Choice("blk.0.ffn_up", "mlp_up", 512, 192, "int8"))
    )
    check_model(gguf, EMBEDDED)
    with pytest.raises(PlanError, match=r"2 are missing \(e\.g\. blk\.0\.attn_q\)\. Names are for example model\."):
        check_plan(gguf, EMBEDDED)


@pytest.mark.parametrize("check", [check_plan, check_model])
def test_a_plan_of_another_model_is_refused_and_both_are_named(check: object) -> None:
    assert callable(check)
    other = Plan((Choice("encoder.layer.0.attention.self.query", "attn_q", 64, 64, "int8"),), model="other/bert")
    with pytest.raises(PlanError, match=rf"{EMBEDDED}: expected the layers of the plan of other/bert, .*Names are for"):
        check(other, EMBEDDED)
    narrow = replace(PLAN, choices=tuple(replace(choice, in_features=64) for choice in PLAN.choices))
    with pytest.raises(PlanError, match=r"as in the plan of somewhere/model, got \d+x192 in "):
        check(narrow, Path(EMBEDDED))
