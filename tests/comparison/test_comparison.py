"""Comparing two tables: laws, what is paired with what, and an independent reference for the statistics."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alpha_callbacks.comparison.comparison import Comparison, compare
from alpha_callbacks.comparison.comparison_findings import comparison_findings, left_out_kinds
from alpha_callbacks.comparison.name_mismatch import describe_mismatch
from alpha_callbacks.comparison.paired_statistics import by_category, movers, summarize_deltas
from alpha_callbacks.errors import OptionError
from alpha_callbacks.tables.statistics import spearman
from alpha_callbacks.tables.table import LayerRows, Row, Table
from tests.support.rows import row, table

NAMES = tuple(
    f"model.layers.{block}.{part}"
    for block in range(6)
    for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
)


def drawn(seed: int, names: tuple[str, ...] = NAMES) -> Table:
    generator = random.Random(seed)
    rows = [row(name, "fp32", generator.uniform(2, 9), alpha_null=generator.uniform(5, 9)) for name in names]
    return Table.from_rows(rows, ("fp32",))


def with_rows(of: Table, **changes: Row) -> Table:
    """Return the table with some layers replaced, by the last part of their name."""
    found = [next((new for key, new in changes.items() if r.layer_name.endswith(key)), r) for r in of]
    return Table.from_rows(found, of.precisions)


def deltas(comparison: Comparison) -> dict[str, float]:
    return {pair.row.layer_name: pair.delta for pair in comparison.compared}


@pytest.mark.parametrize("seed", range(3))
def test_a_table_with_itself(seed: int) -> None:
    a = drawn(seed)
    comparison = compare(a, a)
    whole = summarize_deltas(comparison.pairs)
    assert set(deltas(comparison).values()) == {0.0}
    assert whole.spearman_alpha == pytest.approx(1) and whole.spearman_ratio == pytest.approx(1)
    assert (whole.rises, whole.falls, whole.unmoved) == (0, 0, len(a))
    assert not movers(comparison) and not comparison.left_out


@pytest.mark.parametrize("seed", range(3))
def test_swapped_sides_flip_signs(seed: int) -> None:
    a, b = drawn(seed), drawn(seed + 100)
    forward, backward = compare(a, b), compare(b, a)
    assert deltas(forward) == {name: -delta for name, delta in deltas(backward).items()}
    there, back = summarize_deltas(forward.pairs), summarize_deltas(backward.pairs)
    assert there.median == pytest.approx(-back.median) and there.q05 == pytest.approx(-back.q95)
    assert (there.rises, there.falls) == (back.falls, back.rises)
    assert there.spearman_alpha == pytest.approx(back.spearman_alpha)
    assert [p.row.layer_name for p in movers(forward)] == [p.row.layer_name for p in movers(backward)]


def test_order_of_layers_changes_nothing() -> None:
    a, b = drawn(1), drawn(2)
    shuffled = random.Random(5).sample(b.layers, len(b.layers))
    assert compare(a, replace(b, layers=tuple(shuffled))) == compare(a, b)
    turned = compare(replace(a, layers=a.layers[::-1]), b)
    assert deltas(turned) == deltas(compare(a, b))
    assert summarize_deltas(turned.pairs).spearman_alpha == pytest.approx(
        summarize_deltas(compare(a, b).pairs).spearman_alpha
    )


def test_statistics_against_pandas_and_scipy() -> None:
    import pandas

    a, b = drawn(3), drawn(4)
    whole = summarize_deltas(compare(a, b).pairs)
    frame = a.to_frame().merge(b.to_frame(), on="layer_name", suffixes=("_a", "_b"))
    delta = frame["alpha_b"] - frame["alpha_a"]
    expected = {"median": delta.median(), "mean": delta.mean(), "min": delta.min(), "max": delta.max()}
    expected |= {f"q{q:02d}": delta.quantile(q / 100) for q in (5, 25, 75, 95)}
    expected |= {"median_abs": delta.abs().median()}
    expected |= {"spread": frame["alpha_a"].quantile(0.75) - frame["alpha_a"].quantile(0.25)}
    expected |= {"spearman_alpha": stats.spearmanr(frame["alpha_a"], frame["alpha_b"]).statistic}
    expected |= {"spearman_ratio": stats.spearmanr(frame["alpha_ratio_a"], frame["alpha_ratio_b"]).statistic}
    assert {name: getattr(whole, name) for name in expected} == pytest.approx(expected, rel=1e-12)
    assert (whole.rises, whole.falls) == ((delta > 0).sum(), (delta < 0).sum())
    grouped = pandas.Series(delta.to_numpy(), index=frame["category_a"]).groupby(level=0)
    assert {g.layers: g.median for g in by_category(compare(a, b))} == pytest.approx(grouped.median().to_dict())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_with_ties_against_scipy(points: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in points], [float(b) for _, b in points]
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(spearman(x, y))
    else:
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_spearman_leaves_out_what_is_not_a_number() -> None:
    assert spearman([1, 2, 3, math.nan], [2, 4, 6, 1]) == pytest.approx(1)
    assert math.isnan(spearman([1, 2], [1, 2]))


def test_layers_on_one_side_only() -> None:
    a, b = table(), table(layers=("model.layers.0.self_attn.q_proj", "model.layers.7.mlp.up_proj"))
    comparison = compare(a, b, labels=("base", "tuned"))
    assert [pair.side for pair in comparison.pairs] == ["both", "a", "a", "a", "b"]
    assert comparison.pairs[1].reason == "only in base" and comparison.pairs[-1].reason == "only in tuned"
    assert summarize_deltas(comparison.pairs).count == 1
    assert all(math.isnan(pair.delta) for pair in comparison.left_out)


def test_failed_rows_and_other_shapes_are_named_and_take_no_part() -> None:
    a = table(precisions=("fp32",))
    failed = row("lm_head", "fp32", 1.0, status="failed", reason="SolverError: no luck")
    wider = row("model.layers.1.self_attn.q_proj", "fp32", 99.0, out_features=128)
    comparison = compare(a, with_rows(a, lm_head=failed, **{"1.self_attn.q_proj": wider}))
    reasons = {pair.row.layer_name: pair.reason for pair in comparison.left_out}
    assert reasons == {
        "lm_head": "B: failed (SolverError: no luck)",
        "model.layers.1.self_attn.q_proj": "different shapes: 64x48 and 128x48",
    }
    assert summarize_deltas(comparison.pairs).max == 0
    told = comparison_findings(comparison)[-1]
    assert "1 of different shapes" in told and "1 without alpha" in told


def test_the_same_layer_spelled_differently() -> None:
    b = table(layers=("blk.0.attn_q", "blk.0.ffn_up", "blk.1.attn_q", "output"))
    comparison = compare(table(), b)
    pairs = [(pair.a.layer_name, pair.b.layer_name) for pair in comparison.pairs if pair.a and pair.b]
    assert pairs == [
        ("model.layers.0.self_attn.q_proj", "blk.0.attn_q"),
        ("model.layers.0.mlp.up_proj", "blk.0.ffn_up"),
        ("model.layers.1.self_attn.q_proj", "blk.1.attn_q"),
        ("lm_head", "output"),
    ]


def test_places_are_not_guessed_where_names_agree_or_are_not_unique() -> None:
    added = table(layers=("model.layers.0.self_attn.q_proj", "model.layers.0.cross_attn.q_proj"))
    one = table(layers=("model.layers.0.self_attn.q_proj", "model.layers.0.attn.q_proj"))
    assert [pair.side for pair in compare(added, one).pairs] == ["both", "a", "b"]
    twice = table(layers=("encoder.layers.0.q_proj", "decoder.layers.0.q_proj", "lm_head"))
    assert [p.side for p in compare(twice, table(layers=("blk.0.attn_q", "lm_head"))).pairs] == ["a", "a", "both", "b"]


def test_experts_are_told_apart_by_their_number() -> None:
    ours = tuple(f"model.layers.0.mlp.experts.{i}.up_proj" for i in range(3))
    theirs = tuple(f"blk.0.{i}.ffn_up_exps" for i in range(3))
    found = compare(table(layers=ours), table(layers=theirs[::-1]))
    assert [pair.b.layer_name for pair in found.pairs if pair.b] == list(theirs)


def test_two_precisions_of_one_table() -> None:
    comparison = compare(table(), table(), precisions=("fp32", "bf16"))
    assert comparison.precisions == ("fp32", "bf16")
    assert list(deltas(comparison).values()) == pytest.approx([0.01] * 4)


def test_finest_common_precision_is_the_default() -> None:
    a, b = table(precisions=("bf16", "fp64", "fp32")), table(precisions=("fp32", "bf16"))
    assert compare(a, b).precisions == ("fp32", "fp32")


def test_bounds_and_the_solver_say_what_is_resolved() -> None:
    shared = row("lm_head", "fp32", 4.0, method="bounded", alpha_error_bound=1e-3)
    a = Table.from_rows([shared], ("fp32",))
    near, far = (Table.from_rows([row("lm_head", "fp32", 4.0 + d)], ("fp32",)) for d in (5e-4, 5e-3))
    assert not compare(a, near).pairs[0].resolved and compare(a, far).pairs[0].resolved
    bounded = row("lm_head", "fp32", 4.0 + 1e-5, solver="gram_fp32", alpha_error_bound=2e-5)
    fast = Table.from_rows([bounded], ("fp32",))
    exact = Table.from_rows([row("lm_head", "fp32", 4.0)], ("fp32",))
    assert not compare(exact, fast).pairs[0].resolved
    assert compare(exact, near).pairs[0].resolved


def test_moved_is_more_than_other_noise_would_do() -> None:
    sizes = {"k_used": 50, "n_eigs": 500}
    a = Table.from_rows([row("lm_head", "fp32", 4.0, tail="clear", **sizes)], ("fp32",))
    spread = math.hypot(*(3.0 / 50 * (0.70 + 0.15 * math.log(50)) * (1 + 0.3 * 50 / 500),) * 2)
    for delta, moved in ((1.8 * spread, False), (2.2 * spread, True)):
        b = Table.from_rows([row("lm_head", "fp32", 4.0 + delta, tail="doubtful", **sizes)], ("fp32",))
        (pair,) = compare(a, b).pairs
        assert pair.resolved and pair.moved == moved and pair.spread == pytest.approx(spread, rel=0.1)
        told = " ".join(comparison_findings(compare(a, b)))
        assert f"{int(moved)} of 1 layer moved" in told
        assert "Verdicts on the tails differ in 1: 0 became clear, 1 no longer are." in told


def test_most_moved_by_size_and_by_stderr() -> None:
    a = Table.from_rows([row("x.0.a", "fp32", 4.0, stderr=1.0), row("x.0.b", "fp32", 4.0, stderr=0.01)], ("fp32",))
    b = Table.from_rows([row("x.0.a", "fp32", 4.5, stderr=1.0), row("x.0.b", "fp32", 4.1, stderr=0.01)], ("fp32",))
    assert [p.row.layer_name for p in movers(compare(a, b))] == ["x.0.a", "x.0.b"]
    assert [p.row.layer_name for p in movers(compare(a, b), by_stderr=True)] == ["x.0.b", "x.0.a"]
    assert compare(a, b).pairs[0].delta_in_stderr == pytest.approx(0.5 / math.hypot(1, 1))


@pytest.mark.parametrize("change", [{"k_used": 11}, {"threshold": "last"}])
def test_other_tails_are_refused(change: dict[str, object]) -> None:
    b = Table.from_rows([row(name, "fp32", 3.0, **change) for name in ("lm_head",)], ("fp32",))
    with pytest.raises(OptionError, match=r"lm_head: expected alphas of the same tail, got k = 10, threshold next"):
        compare(table(), b)


def test_a_history_without_shapes_is_compared_with_a_scan() -> None:
    rows = [replace(r, out_features=0, in_features=0) for r in table(shift=0.5)]
    unknown = Table.from_rows(rows, table().precisions)
    assert len(compare(table(), unknown).compared) == 4 == len(compare(unknown, table()).compared)


def test_a_history_without_thresholds_is_compared() -> None:
    unknown = Table(tuple(LayerRows(tuple(replace(r, threshold="") for r in layer.rows)) for layer in table().layers),
                    table().precisions)  # fmt: skip
    assert len(compare(table(), unknown).compared) == 4


def test_wrong_usage() -> None:
    with pytest.raises(OptionError, match=r"base and B: expected layers in common, found none among 4 and 1 \(such as"):
        compare(table(), table(layers=("something.else",)), labels=("base", "B"))
    with pytest.raises(OptionError, match=r"a in A and net.a in B, which differ by the prefix 'net.': save one side"):
        compare(table(layers=("a", "b")), table(layers=("net.a", "net.b")))
    with pytest.raises(OptionError, match="precision: expected one that both have, got fp32 in A and bf16 in B"):
        compare(table(precisions=("fp32",)), table(precisions=("bf16",)))
    with pytest.raises(OptionError, match="precision: expected one of fp32, bf16 for A, got 'fp16'"):
        compare(table(), table(), precisions="fp16")


def test_words() -> None:
    a = drawn(1)
    b = Table.from_rows([replace(r, alpha=r.alpha + 0.01, stored_dtype="Q4_1") for r in a], a.precisions)
    told = " ".join(comparison_findings(compare(a, b)))
    assert "24 layers compared: the median change of alpha is +0.01" in told and "24 rise, 0 fall." in told
    assert "levels barely move" in told and "Rank correlation of the layers: 1 for alpha" in told
    assert "0 of 24 layers moved: alpha changes by more than 1.96 times the spread" in told
    assert "A in float32, B in Q4_1" in told
    same = comparison_findings(compare(a, a))
    assert same[0] == "24 layers compared: alpha is the same in every layer, within its error bounds."


def test_few_layers_are_told_one_by_one() -> None:
    """A median, a quartile or a rank correlation of 7 layers would claim what they cannot show."""
    a = drawn(1, NAMES[:7])
    b = Table.from_rows([replace(r, alpha=r.alpha + 0.25) for r in a], a.precisions)
    told = comparison_findings(compare(a, b))
    first = a.layers[0].first
    assert f"{first.layer_name} ({first.alpha:.4f} to {first.alpha + 0.25:.4f}, +0.25)" in told[0]
    assert told[0].count("+0.25") == 7 and told[0].endswith("7 layers are too few to speak of a trend.")
    assert not any(word in " ".join(told) for word in ("median", "Rank", "levels", "By category"))
    enough = compare(drawn(1, NAMES[:8]), drawn(2, NAMES[:8]))
    assert "median change" in comparison_findings(enough)[0] and "Rank correlation" in comparison_findings(enough)[1]


def test_a_layer_that_did_not_move_is_told_as_such_among_few() -> None:
    a = drawn(1, NAMES[:2])
    rows = [replace(r, alpha=r.alpha + (r.layer_name == NAMES[1])) for r in a]
    told = comparison_findings(compare(a, Table.from_rows(rows, a.precisions)))[0]
    assert f"{NAMES[0]} (" in told and "no resolved change)" in told and "+1)" in told


def test_a_category_of_one_layer_is_not_ranked_with_the_others() -> None:
    a = drawn(1, (*NAMES, "lm_head"))
    rows = [replace(r, alpha=r.alpha + (9.0 if r.layer_name == "lm_head" else 0.1)) for r in a]
    told = comparison_findings(compare(a, Table.from_rows(rows, a.precisions)))
    (ranked,) = [sentence for sentence in told if sentence.startswith("By category")]
    assert "lm_head" not in ranked and any(sentence.startswith("Largest change: lm_head") for sentence in told)


def test_words_without_a_layer_to_compare() -> None:
    names = ("net.score", "net.mixer", "net.out")
    failed = row("norm", "fp32", 1.0, status="failed", reason="SolverError: no luck")
    a = Table.from_rows([row(names[0], "fp32", 3.0), row("head", "fp32", 3.0), failed], ("fp32",))
    b = Table.from_rows([row("score", "fp32", 3.0), row("head", "fp32", 3.0, out_features=512), failed], ("fp32",))
    comparison = compare(a, b, labels=("base", "tuned"))
    assert {kind: len(pairs) for kind, pairs in left_out_kinds(comparison).items()} == {
        "only in base": 1, "of different shapes": 1, "without alpha": 1, "only in tuned": 1,
    }  # fmt: skip
    told, unlike_names, shapes, lost = comparison_findings(comparison)
    assert told.startswith("Nothing could be compared: ") and "1 only in base" in told and "1 without alpha" in told
    assert "such as net.score in base and score in tuned, which differ by the prefix 'net.'" in unlike_names
    assert shapes.startswith("head: different shapes: 64x48 and 512x48. Compare two states of one architecture")
    assert lost.startswith("norm: base: failed (SolverError: no luck)") and "scan" in lost


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (("net.a", "net.b"), ("a", "b"), "such as net.a in A and a in B, which differ by the prefix 'net.'"),
        (("a", "b"), ("x.net.b", "other"), "such as b in A and x.net.b in B, which differ by the prefix 'x.net.'"),
        (("a.0", "b.0", "c.0", "d.0"), ("0", "p", "q", "r"), "such as a.0 in A and 0 in B"),
        (("a",), (), "such as a in A and no layer in B"),
    ],
)
def test_names_with_nothing_in_common(ours: tuple[str, ...], theirs: tuple[str, ...], told: str) -> None:
    found = describe_mismatch(ours, theirs, ("A", "B"))
    assert found.startswith(told) and ("prefix" in found) == ("prefix" in told)
