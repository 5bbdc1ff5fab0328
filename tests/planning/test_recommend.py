import math
from collections import Counter
from itertools import groupby

import pandas
import pytest

from alpha_callbacks.errors import OptionError, PlanError
from alpha_callbacks.planning.recommend import recommend
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.recommendation import Recommendation
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import Row, Table
from tests.support.low_bit_tables import BLOCK, LAYERS, failed, low_bit_row, low_bit_table, shape_of


def chosen(found: Recommendation) -> dict[str, str]:
    return {choice.layer_name: choice.precision for choice in found.plan.choices}


def with_extra(table: Table, *rows: Row) -> Table:
    return Table.from_rows([*table, *rows], table.precisions)


@pytest.mark.parametrize("policy", ["measured", "alphaq", "fisher"])
@pytest.mark.parametrize("bits", [4.5, 5.0, 6.3, 8.02, 12, 16])
def test_budget_is_met_within_a_hundredth(policy: str, bits: float) -> None:
    fisher = {name: 1.0 + i for i, name in enumerate(LAYERS)}
    options = RecommendOptions(policy=policy, avg_bits=bits, untied=True)  # type: ignore[arg-type]
    found = recommend(low_bit_table(precisions=("fp32", "bf16", "fp8_e4m3", "int4_g32")), options, fisher=fisher)
    weights = {name: math.prod(shape_of(name)) for name in LAYERS}
    by_hand = sum(get_precision(p).effective_bits(*shape_of(n)) * weights[n] for n, p in chosen(found).items())
    assert found.plan.average_bits() == pytest.approx(by_hand / sum(weights.values()), rel=1e-12)
    assert abs(found.plan.average_bits() - bits) <= 0.01


def test_budget_out_of_reach_names_the_range() -> None:
    with pytest.raises(PlanError, match=r"from 4.500 to 16.000\), got 3"):
        recommend(low_bit_table(), RecommendOptions(avg_bits=3.0))


def test_without_a_budget_it_is_half_way_between_the_low_bit_candidates() -> None:
    found = recommend(low_bit_table(), RecommendOptions(untied=True))
    weights = [math.prod(shape_of(name)) for name in LAYERS]
    fp8 = [get_precision("fp8").effective_bits(*shape_of(name)) for name in LAYERS]
    middle = (4.5 + sum(bits * w for bits, w in zip(fp8, weights, strict=True)) / sum(weights)) / 2
    assert found.plan.policy == "measured" and found.plan.settings["avg_bits"] == pytest.approx(middle)


def test_measured_gives_bits_where_the_error_is_large() -> None:
    rows = [
        low_bit_row(r.layer_name, r.precision, r.alpha, error=0.3)
        if r.precision == "int4_g32" and r.layer_name.endswith("down_proj")
        else r
        for r in low_bit_table()
    ]
    table = Table.from_rows(rows, ("fp32", "bf16", "fp8_e4m3", "int4_g32"))
    found = recommend(table, RecommendOptions(avg_bits=5.6))
    finer = {name for name, precision in chosen(found).items() if precision != "int4_g32"}
    assert finer >= {name for name in LAYERS if name.endswith("down_proj")}


def test_fisher_gives_bits_where_the_loss_is_sensitive() -> None:
    fisher = {name: 100.0 if ".layers.2." in name else 1.0 for name in LAYERS}
    found = recommend(low_bit_table(), RecommendOptions(policy="fisher", avg_bits=5.4), fisher=fisher)
    assert {name.split(".")[2] for name, precision in chosen(found).items() if precision != "int4_g32"} == {"2"}


@pytest.mark.parametrize(("protect", "finest"), [(None, 0), ("low-alpha", 0), ("high-alpha", -1)])
def test_alphaq_protects_the_end_that_it_is_told_to(protect: str | None, finest: int) -> None:
    alphas = {name: 1.5 + i for i, name in enumerate(LAYERS)}
    options = RecommendOptions(policy="alphaq", avg_bits=5, gamma=20, protect=protect, untied=True)  # type: ignore[arg-type]
    picks = list(chosen(recommend(low_bit_table(alphas), options)).values())
    assert picks[finest] != "int4_g32" and picks[-1 - finest] == "int4_g32"


def test_alphaq_without_gamma_knows_nothing_of_alpha() -> None:
    options = RecommendOptions(policy="alphaq", avg_bits=5, gamma=0)
    backwards = {name: 5.0 - i / 10 for i, name in enumerate(LAYERS)}
    assert chosen(recommend(low_bit_table(backwards), options)) == chosen(recommend(low_bit_table(), options))


def test_thresholds_as_documented() -> None:
    alphas = dict(zip(LAYERS[3:7], (2.4, 2.5, 3.0, 3.1), strict=True))
    options = RecommendOptions(policy="thresholds", untied=True)
    assert list(chosen(recommend(low_bit_table(alphas), options)).values()) == [
        "int4_g32",
        "fp8_e4m3",
        "fp8_e4m3",
        "bf16",
    ]
    turned = RecommendOptions(policy="thresholds", untied=True, protect="low-alpha")
    assert list(chosen(recommend(low_bit_table(alphas), turned)).values()) == [
        "bf16",
        "fp8_e4m3",
        "fp8_e4m3",
        "int4_g32",
    ]
    wide = RecommendOptions(policy="thresholds", untied=True, bounds=(2.0, 9.0))
    assert set(chosen(recommend(low_bit_table(alphas), wide)).values()) == {"fp8_e4m3"}


def test_thresholds_need_no_low_bit_column() -> None:
    table = low_bit_table({LAYERS[3]: 2.4, LAYERS[6]: 2.7}, precisions=("fp32", "bf16"))
    with pytest.raises(PlanError, match=r"results have none\. Run: alpha-hill scan MODEL -p fp32,bf16,fp8,int4"):
        recommend(table)  # the disputed rule is never chosen by itself
    found = recommend(table, RecommendOptions(policy="thresholds"))
    assert found.plan.policy == "thresholds"
    assert list(chosen(found).values()) == ["int4_g32", "fp8_e4m3"]
    assert math.isnan(found.alternatives[0].error) and all(math.isnan(advice.relative_error) for advice in found.layers)


def test_variation_over_wide_precisions_means_16_bits() -> None:
    rows = [low_bit_row("model.layers.0.mlp.down_proj", name, alpha) for name, alpha in
            (("fp32", 2.0), ("bf16", 2.05), ("fp8_e4m3", 2.3), ("int4_g32", 2.9))]  # fmt: skip
    table = Table.from_rows(rows, ("fp32", "bf16", "fp8_e4m3", "int4_g32"))
    found = recommend(table, RecommendOptions(policy="thresholds"))
    assert chosen(found) == {"model.layers.0.mlp.down_proj": "bf16"}
    assert "alpha varies by 0.025" in found.plan.choices[0].reason
    loose = recommend(table, RecommendOptions(policy="thresholds", variation=0.03))
    assert chosen(loose) == {"model.layers.0.mlp.down_proj": "int4_g32"}


@pytest.mark.parametrize("policy", ["measured", "alphaq", "thresholds", "fisher"])
def test_qkv_gate_and_up_share_a_format_unless_untied(policy: str) -> None:
    fisher = {name: 1.0 + i % 7 for i, name in enumerate(LAYERS)}
    alphas = {name: (2.2, 2.7, 3.5)[i % 3] for i, name in enumerate(LAYERS)}
    for untied in (False, True):
        bits = None if policy == "thresholds" else 6.0
        options = RecommendOptions(policy=policy, avg_bits=bits, untied=untied)  # type: ignore[arg-type]
        picks = chosen(recommend(low_bit_table(alphas), options, fisher=fisher))
        shared = [
            len({picks[f"model.layers.{block}.{part}"] for part in parts}) == 1
            for block in range(4)
            for parts in (BLOCK[:3], BLOCK[4:6])
        ]
        assert all(shared) or untied
        if policy == "thresholds":
            assert all(shared) != untied


def test_of_tied_layers_the_finest_decides_and_the_reason_says_so() -> None:
    alphas = dict(zip(LAYERS[:3], (2.2, 2.7, 3.5), strict=True))
    found = recommend(low_bit_table(alphas), RecommendOptions(policy="thresholds"))
    assert set(chosen(found).values()) == {"bf16"}
    assert found.plan.choices[0].reason == (
        "shares a format with model.layers.0.self_attn.v_proj; alone: int4_g32, alpha 2.20 below 2.5"
    )


@pytest.mark.parametrize("policy", ["measured", "alphaq", "thresholds", "fisher"])
@pytest.mark.parametrize("status", ["failed", "degenerate", "non_finite", "rank_deficient", "too_small", "unsupported"])
def test_layers_without_alpha_stay_at_16_bits_and_are_listed(policy: str, status: str) -> None:
    table = low_bit_table(o_proj={**failed(), "status": status})
    fisher = dict.fromkeys(LAYERS, 1.0)
    bits = None if policy == "thresholds" else 9.0
    found = recommend(table, RecommendOptions(policy=policy, avg_bits=bits), fisher=fisher)  # type: ignore[arg-type]
    bad = [name for name in LAYERS if name.endswith("o_proj")]
    assert [choice.layer_name for choice in found.kept] == bad
    assert all(chosen(found)[name] == "bf16" for name in bad)
    assert f"no alpha ({status}: torn), so it stays at 16 bits" == found.kept[0].reason
    assert all(len(set(advice.others.values())) == 1 for advice in found.layers if advice.choice in found.kept)


@pytest.mark.parametrize("policy", ["measured", "alphaq", "thresholds"])
def test_a_format_that_failed_on_a_layer_is_not_chosen_there(policy: str) -> None:
    rows = [
        low_bit_row(r.layer_name, r.precision, r.alpha, **failed())
        if r.precision == "int4_g32" and r.layer_name.endswith("down_proj")
        else r
        for r in low_bit_table(dict.fromkeys(LAYERS, 2.2))
    ]
    table = Table.from_rows(rows, ("fp32", "bf16", "fp8_e4m3", "int4_g32"))
    bits = None if policy == "thresholds" else 6.0
    picks = chosen(recommend(table, RecommendOptions(policy=policy, avg_bits=bits)))  # type: ignore[arg-type]
    assert "int4_g32" not in {pick for name, pick in picks.items() if name.endswith("down_proj")}
    assert "int4_g32" in picks.values()


def test_heads_embeddings_routers_and_tied_layers_are_outside_the_budget() -> None:
    extra = [
        low_bit_row(name, precision, 3.0, **changes)
        for name, changes in (
            ("lm_head", {}),
            ("model.embed_tokens", {}),
            ("model.layers.0.mlp.gate", {}),
            ("model.layers.9.mlp.down_proj", {"tied_to": "model.layers.0.mlp.down_proj"}),
        )
        for precision in ("fp32", "bf16", "fp8_e4m3", "int4_g32")
    ]
    found = recommend(with_extra(low_bit_table(), *extra), RecommendOptions(avg_bits=4.5))
    rest = found.plan.choices[len(LAYERS) :]
    assert [choice.precision for choice in rest] == ["bf16"] * 4 and not any(choice.budgeted for choice in rest)
    assert found.plan.average_bits() == pytest.approx(4.5)
    sizes = [choice.numel for choice in found.plan.choices]
    whole = (sum(sizes[:28]) * 4.5 + sum(sizes[28:]) * 16) / sum(sizes)
    assert found.plan.average_bits(budgeted=False) == pytest.approx(whole)
    with_head = recommend(with_extra(low_bit_table(), *extra), RecommendOptions(avg_bits=4.5, quantize_head=True))
    assert chosen(with_head)["lm_head"] == "int4_g32"
    kept = recommend(low_bit_table(), RecommendOptions(avg_bits=4.5, keep=r"layers\.0\."))
    assert [choice.layer_name for choice in kept.plan.choices if not choice.budgeted] == list(LAYERS[:7])


def test_fp16_checkpoints_stay_fp16() -> None:
    table = low_bit_table(o_proj={**failed(), "stored_dtype": "float16"})
    found = recommend(table, RecommendOptions(avg_bits=9))
    assert {choice.precision for choice in found.kept} == {"fp16"}


def test_figures_beside_each_choice() -> None:
    found = recommend(low_bit_table(), RecommendOptions(avg_bits=4.5))
    first = found.layers[0]
    assert (first.alpha, first.alpha_ratio, first.drift) == (2.0, 0.4, 0.0)
    assert first.relative_error == pytest.approx(0.095)
    assert first.others == {"measured": "int4_g32", "alphaq": "int4_g32", "thresholds": "int4_g32"}
    rms = math.sqrt(sum((0.095 * (1 + i / 100)) ** 2 for i in range(28)) / 28)
    assert found.alternatives[0].error == pytest.approx(rms) and found.alternatives[0].agreement == 1
    assert [alternative.policy for alternative in found.alternatives] == ["measured", "alphaq", "thresholds"]


def test_rank_correlation_against_scipy() -> None:
    from scipy.stats import spearmanr

    alphas = {name: 2 + (i * 7919 % 28) / 10 for i, name in enumerate(LAYERS)}
    found = recommend(low_bit_table(alphas), RecommendOptions(avg_bits=6))
    frame = low_bit_table(alphas).to_frame()
    for correlation in found.correlations:
        rows = frame[frame.precision == correlation.precision]
        assert correlation.alpha == pytest.approx(spearmanr(rows.alpha, rows.relative_error).statistic)
        assert correlation.layers == 28
    assert [c.precision for c in found.correlations] == ["fp8_e4m3", "int4_g32"]


def test_equal_errors_have_no_correlation() -> None:
    table = low_bit_table()
    rows = [low_bit_row(r.layer_name, r.precision, r.alpha, error=0.1) for r in table]
    found = recommend(Table.from_rows(rows, table.precisions), RecommendOptions(avg_bits=6))
    assert all(math.isnan(correlation.alpha) for correlation in found.correlations)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, "policy: expected one of measured, fisher, alphaq, thresholds, got 'best'"),
        ({"protect": "all"}, "protect: expected one of high-alpha, low-alpha"),
        ({"policy": "measured", "protect": "low-alpha"}, "measured does not look at alpha"),
        ({"policy": "thresholds", "avg_bits": 4}, "thresholds has no budget"),
        ({"bounds": (3.0, 2.0)}, "bounds: expected low <= high"),
        ({"candidates": ("bf16",)}, "expected formats below 16 bits, got bf16"),
        ({"candidates": ("int9",)}, "precision: expected one of"),
        ({"keep": "("}, "keep: expected a regular expression"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        RecommendOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            RecommendOptions(policy="measured", candidates=("nf4",)),
            "a column of nf4, the results have none. Run: alpha-hill scan MODEL -p fp32,bf16,.*nf4",
        ),
        (RecommendOptions(candidates=("int8",)), "a column of int8, the results have none"),
        (RecommendOptions(policy="fisher", avg_bits=5), "expected sensitivities"),
        (RecommendOptions(keep="nowhere"), f"keep: expected layers that match 'nowhere', got none.*{LAYERS[0]}"),
        (RecommendOptions(keep="."), "all are kept by rule"),
    ],
)
def test_what_the_results_lack_is_said(options: RecommendOptions, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        recommend(low_bit_table(), options)


def test_a_budget_is_never_ignored() -> None:
    with pytest.raises(PlanError, match="policy measured: expected low-bit formats to choose from"):
        recommend(low_bit_table(precisions=("fp32", "bf16")), RecommendOptions(avg_bits=5))


def test_budgeted_policies_need_formats_to_choose_from() -> None:
    with pytest.raises(PlanError, match="policy alphaq: expected low-bit formats to choose from"):
        recommend(low_bit_table(precisions=("fp32", "bf16")), RecommendOptions(policy="alphaq", avg_bits=5))


def test_fisher_without_a_layer_names_it() -> None:
    with pytest.raises(PlanError, match=f"{LAYERS[3]}: expected a sensitivity, there is none"):
        fisher = {name: 1.0 for name in LAYERS if name != LAYERS[3]}
        recommend(low_bit_table(), RecommendOptions(policy="fisher", avg_bits=5), fisher=fisher)


def test_order_of_layers_decides_nothing() -> None:
    table = low_bit_table()
    blocks = [list(group) for _, group in groupby(table, key=lambda row: row.layer_name)]
    turned = Table.from_rows([row for block in reversed(blocks) for row in block], table.precisions)
    options = RecommendOptions(avg_bits=6)
    here, there = chosen(recommend(table, options)), chosen(recommend(turned, options))
    assert Counter(here.values()) == Counter(there.values())
    frame = pandas.DataFrame({"here": here, "there": there})
    assert (frame.here == frame.there).all()


def changed(table: Table, at: str, precision: str | None = None, **changes: object) -> Table:
    """Return the table with the rows of one layer changed."""
    rows = [
        low_bit_row(r.layer_name, r.precision, r.alpha, **changes)  # type: ignore[arg-type]
        if r.layer_name == at and precision in (None, r.precision)
        else r
        for r in table
    ]
    return Table.from_rows(rows, table.precisions)


def test_partners_of_a_layer_without_alpha_are_listed_too() -> None:
    found = recommend(changed(low_bit_table(), LAYERS[0], **failed()))
    assert [choice.layer_name for choice in found.kept] == list(LAYERS[:3])
    assert found.kept[1].reason == f"shares a format with {LAYERS[0]}, which stays at 16 bits"


def test_thresholds_give_no_partner_a_format_that_failed_on_it() -> None:
    alphas = {LAYERS[0]: 2.7, LAYERS[1]: 2.0, LAYERS[2]: 2.0}
    table = changed(low_bit_table(alphas), LAYERS[1], "fp8_e4m3", **failed())
    found = recommend(table, RecommendOptions(policy="thresholds"))
    assert set(chosen(found).values()) == {"bf16"}
    assert f"{LAYERS[1]}, where fp8_e4m3 failed" in found.plan.choices[0].reason


def test_keep_takes_with_it_what_shares_a_format() -> None:
    found = recommend(low_bit_table(), RecommendOptions(avg_bits=5, keep=r"layers\.0\..*k_proj"))
    assert [choice.layer_name for choice in found.plan.choices if not choice.budgeted] == list(LAYERS[:3])
    alone = recommend(low_bit_table(), RecommendOptions(avg_bits=5, keep=r"layers\.0\..*k_proj", untied=True))
    assert [choice.layer_name for choice in alone.plan.choices if not choice.budgeted] == [LAYERS[1]]


@pytest.mark.parametrize("precisions", [("fp32", "int4_g32"), ("fp32", "fp8_e4m3", "int4_g32")])
@pytest.mark.parametrize("layers", [1, 2, 28])
def test_the_default_budget_is_never_refused(precisions: tuple[str, ...], layers: int) -> None:
    table = low_bit_table({name: 2.0 + i for i, name in enumerate(LAYERS[:layers])}, precisions)
    for t in (table, changed(table, LAYERS[0], **failed())):
        found = recommend(t)
        assert all(c.low_bit for c in found.plan.choices if c not in found.kept)
        assert found.plan.average_bits() <= found.plan.settings["avg_bits"] + 0.01


def test_16_bits_fill_no_gap_below_the_finest_low_bit_format() -> None:
    equal = Table.from_rows(
        [
            low_bit_row(r.layer_name, r.precision, r.alpha, out_features=64, in_features=512)
            for r in low_bit_table(precisions=("fp32", "int8", "int4_g32"))
        ],
        ("fp32", "int8", "int4_g32"),
    )
    with pytest.raises(PlanError, match=r"Nearest below: [\d.]+, above: [\d.]+: layers are too few or too large"):
        recommend(equal, RecommendOptions(avg_bits=8.0))


@pytest.mark.parametrize("options", [{"avg_bits": math.nan}, {"gamma": math.inf}, {"bounds": (math.nan, 3.0)}])
def test_numbers_must_be_finite(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="expected a finite number"):
        RecommendOptions(**options)  # type: ignore[arg-type]


def test_any_gamma_is_a_plan() -> None:
    for gamma in (-1e6, 1e6):
        found = recommend(low_bit_table(), RecommendOptions(policy="alphaq", avg_bits=5, gamma=gamma))
        assert abs(found.plan.average_bits() - 5) <= 0.01


@pytest.mark.parametrize("stored", ["Q4_K", "GPTQ 4-bit, group 64", "float8_e4m3fn", "Q8_0 cast to bfloat16"])
def test_quantized_weights_have_no_plan(stored: str) -> None:
    table = low_bit_table(o_proj={"stored_dtype": stored})
    with pytest.raises(
        PlanError, match=r"expected float weights, 4 of 28 layers are quantized \(model\.layers\.0\.self_attn"
    ):
        recommend(table)


def narrow(columns: int, *precisions: str) -> Table:
    """Return a table whose down projections have so many columns and all other layers 192."""
    rows = [
        low_bit_row(name, precision, 3.0, error=0.1, in_features=columns if name.endswith("down_proj") else 192)
        for name in LAYERS
        for precision in ("fp32", *precisions)
    ]
    return Table.from_rows(rows, ("fp32", *precisions))


def test_a_group_that_does_not_divide_the_columns_is_not_chosen() -> None:
    found = recommend(narrow(256, "int8", "int4_g128"), RecommendOptions())
    wanted = {name: "int4_g128" if name.endswith("down_proj") else "int8" for name in LAYERS}
    assert chosen(found) == wanted and not found.kept


def test_a_layer_that_no_candidate_fits_stays_at_16_bits_and_says_so() -> None:
    found = recommend(narrow(256, "int4_g128"), RecommendOptions())
    assert {name.rpartition(".")[2] for name, precision in chosen(found).items() if precision == "int4_g128"} == {
        "down_proj"
    }
    reasons = {choice.reason for choice in found.kept}
    assert reasons == {"no candidate has blocks that divide its 192 columns, so it stays at 16 bits"}


def test_candidates_that_fit_no_layer_are_refused_with_one_that_does() -> None:
    with pytest.raises(PlanError, match=r"divide the columns of a layer \(192\), got int4_g128\. .* with int4:g64 or"):
        recommend(narrow(192, "int4_g128"))
