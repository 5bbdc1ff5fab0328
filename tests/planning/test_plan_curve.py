"""The curve of plans: what it shows is what `recommend` gives, and its files come back."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.errors import PlanError, ResultsError
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_curve import KNEE, UNIFORM, CurvePoint, better_below, plan_curve
from alpha_callbacks.planning.plan_curve_files import (
    CURVE,
    SCORES,
    PlanScore,
    plan_digest,
    plan_files,
    read_curve,
    read_scores,
    scores_of,
    write_curve,
    write_scores,
)  # fmt: skip
from alpha_callbacks.planning.recommend import recommend
from alpha_callbacks.planning.recommend_options import RecommendOptions
from tests.support.low_bit_tables import LAYERS, failed, low_bit_table

PRECISIONS = ("fp32", "bf16", "fp8_e4m3", "int4_g32", "int3_g32")


def of(points: tuple[CurvePoint, ...], policy: str) -> list[CurvePoint]:
    return [point for point in points if point.policy == policy]


def test_marked_sizes_are_the_plans_of_those_budgets() -> None:
    table = low_bit_table(precisions=PRECISIONS)
    fisher = {name: 1.0 + i for i, name in enumerate(LAYERS)}
    points = plan_curve(table, fisher=fisher)
    assert {point.policy for point in points} == {"measured", "fisher", "alphaq", "thresholds", UNIFORM}
    for policy in ("measured", "fisher", "alphaq"):
        sizes = [p for p in of(points, policy) if p.mark not in ("", KNEE)]
        assert {p.mark for p in sizes} == {"4", "4.5", "5", "6"}, "3 and 8 cannot be met to a hundredth"
        for point in sizes:
            options = RecommendOptions(policy=policy, avg_bits=float(point.mark))
            found = recommend(table, options, fisher=fisher)
            assert point.average_bits == pytest.approx(found.plan.average_bits(), rel=1e-12)
            assert point.error == pytest.approx(found.alternatives[0].error, rel=1e-9)
            assert point.nbytes == pytest.approx(found.plan.nbytes, rel=1e-12)


def test_the_measured_curve_falls_from_the_coarsest_format_to_16_bits() -> None:
    points = of(plan_curve(low_bit_table(precisions=PRECISIONS)), "measured")
    line = [point for point in points if point.mark in ("", KNEE)]
    assert line[0].average_bits == pytest.approx(3.5) and line[-1].average_bits == pytest.approx(16)
    errors, bits = [p.error for p in line], [p.average_bits for p in line]
    assert errors == sorted(errors, reverse=True) and bits == sorted(bits) and errors[-1] == 0
    assert [point.mark for point in points].count(KNEE) == 1


def test_one_format_everywhere_is_a_point_and_what_it_does_not_fit_stays_wide() -> None:
    table = low_bit_table(precisions=("fp32", "int4_g32"), down_proj=failed())
    uniform = of(plan_curve(table), UNIFORM)
    assert [point.mark for point in uniform] == ["int4_g32"] and 4.5 < uniform[0].average_bits < 16


def test_an_error_that_was_not_measured_is_never_told_as_none() -> None:
    options = RecommendOptions(policy="alphaq", candidates=("int3_g32", "int4_g32"))
    points = of(plan_curve(low_bit_table(precisions=("fp32", "int4_g32")), options), "alphaq")
    assert math.isnan(points[0].error) and points[-1].error == 0, "all int3, which was not scanned; all 16 bits"
    for size in (4.0, 4.5):
        (point,) = [p for p in points if p.mark == f"{size:g}"]
        found = recommend(low_bit_table(precisions=("fp32", "int4_g32")), replace(options, avg_bits=size))
        assert point.error == pytest.approx(found.alternatives[0].error, nan_ok=True)
    assert all(math.isnan(p.error) or p.error > 0 for p in points[:-1])


def test_without_measured_columns_there_is_the_point_of_the_rule_alone() -> None:
    points = plan_curve(low_bit_table(precisions=("fp32", "bf16")))
    assert [point.policy for point in points] == ["thresholds"] and math.isnan(points[0].error)
    with pytest.raises(PlanError, match="all are kept by rule"):
        plan_curve(low_bit_table(), RecommendOptions(keep="."))


def test_a_budget_that_is_worse_than_a_smaller_one_is_seen() -> None:
    points = (CurvePoint("measured", 5.6, 1.0, 0.063), CurvePoint("alphaq", 5.0, 1.0, 0.01))
    assert better_below(points, "measured", 6.0, 0.067) is points[0]
    assert better_below(points, "measured", 5.5, 0.067) is None
    assert better_below(points, "measured", 6.0, 0.0631) is None, "less than a hundredth better"


def test_files_come_back_and_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    assert read_curve(tmp_path) == () and read_scores(tmp_path) == ()
    points = (CurvePoint("measured", 4.5, 1e6, 0.0944, KNEE), CurvePoint("thresholds", 10.97, 2e6, math.nan))
    write_curve(points, tmp_path)
    again = read_curve(tmp_path)
    assert again[0] == points[0] and math.isnan(again[1].error)
    scores = [PlanScore("plan_4.5", 4.5, 0.0276, 0.0009, 0.133, 0.245, 0.886, 314.4, "abc", "a, b.txt", 1024)]
    write_scores(scores, tmp_path)
    assert list(read_scores(tmp_path)) == scores
    for name, read in ((CURVE, read_curve), (SCORES, read_scores)):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("4.5", "many", 2))
        with pytest.raises(ResultsError, match=f"{name}: expected a number as average_bits"):
            read(tmp_path)


def test_plans_of_a_folder_and_scores_of_plans_that_were_made_anew(tmp_path: Path) -> None:
    for name in ("plan_10.json", "plan.json", "plan_4.5.json", "plan_old.json"):
        (tmp_path / name).touch()
    assert list(plan_files(tmp_path)) == ["plan", "plan_4.5", "plan_10"]
    plan, other = (Plan((Choice("fc", "other", 8, 64, name),)) for name in ("int4", "int8"))
    kept, stale, uniform = (
        PlanScore(name, 4.5, 0.1, 0, 0, 0, 1, 1, digest, "t", 1)
        for name, digest in (("plan", plan_digest(plan)), ("plan_4", plan_digest(other)), ("uniform int4_g32", ""))
    )
    drawn, old = (replace(kept, name=f"random {i}", digest=plan_digest(p)) for i, p in ((1, plan), (2, other)))
    early = replace(old, digest="")  # of a version that did not say whose it is
    every = (kept, stale, uniform, drawn, old, early)
    assert scores_of({"plan": plan, "plan_4": plan}, every) == (kept, uniform, drawn)
