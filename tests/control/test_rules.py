import math
from collections.abc import Sequence

import numpy as np
import pytest

from alpha_callbacks.control.rules import RULES, MeasuredLayer, get_rule, layer_multipliers, ramped
from alpha_callbacks.errors import OptionError


def layers(alphas: Sequence[float], *, n_eigs: int = 64) -> list[MeasuredLayer]:
    """A model in module order: embedding, one linear layer per alpha, language head."""
    inner = [MeasuredLayer(f"l{n}", "mlp_up", alpha, n_eigs) for n, alpha in enumerate(alphas)]
    return [MeasuredLayer("embed", "embedding", math.nan, 0), *inner, MeasuredLayer("head", "lm_head", 7.0, 64)]


# By hand: (alpha - 2) / (6 - 2) of the way from the lowest to the highest multiplier. The first and the last linear
# layer (l0, the head) take no part in two of the rules; in LLR embedding and head get the highest.
BY_HAND = {
    "tempbalance": {"embed": 1, "l0": 1, "l1": 0.5, "l2": 0.75, "l3": 1.5, "head": 1},
    "llr": {"embed": 3, "l0": 1.25, "l1": 1, "l2": 1.5, "l3": 3, "head": 3},
    "alphadecay": {"embed": 1, "l0": 1, "l1": 0.6666, "l2": 0.6666 + 4.3334 / 4, "l3": 5, "head": 1},
}


@pytest.mark.parametrize("name", RULES)
def test_numbers_computed_by_hand(name: str) -> None:
    assert layer_multipliers(layers((2.5, 2.0, 3.0, 6.0)), RULES[name]) == pytest.approx(BY_HAND[name], abs=1e-12)


def reference(alphas: np.ndarray, n_eigs: np.ndarray, low: float, high: float, *, ends: bool) -> np.ndarray:
    """The map of all three papers, written independently: interpolation between the extremes of the layers tuned."""
    tuned = n_eigs >= 50
    if not ends:
        tuned[[0, -1]] = False
    values = np.ones(len(alphas))
    chosen = alphas[tuned]
    values[tuned] = np.interp(chosen, [chosen.min(), chosen.max()], [low, high])
    return values


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_the_map_of_an_independent_implementation(name: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    alphas, n_eigs = generator.uniform(1.5, 9, 30), generator.integers(30, 500, 30)
    measured = [MeasuredLayer(str(n), "other", a, int(e)) for n, (a, e) in enumerate(zip(alphas, n_eigs, strict=True))]
    rule = RULES[name]
    expected = reference(alphas, n_eigs, rule.low, rule.high, ends=rule.ends == "highest")
    assert list(layer_multipliers(measured, rule).values()) == pytest.approx(list(expected), rel=1e-13)


def test_layers_without_alpha_or_with_few_eigenvalues_keep_their_value_and_move_no_other() -> None:
    rule = RULES["llr"]
    plain = layer_multipliers(layers((2.0, 3.0, 4.0)), rule)
    more = [*layers((2.0, 3.0, 4.0)), MeasuredLayer("nan", "other", math.nan, 64), MeasuredLayer("49", "other", 99, 49)]
    assert layer_multipliers(more, rule) == {**plain, "nan": 1.0, "49": 1.0}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("alphas", [(3.0, 3.0, 3.0), (math.nan, math.nan, math.nan), ()])
def test_nothing_moves_where_no_two_alphas_differ(name: str, alphas: tuple[float, ...]) -> None:
    assert set(layer_multipliers(layers(alphas), RULES[name]).values()) == {1.0}


def test_published_constants() -> None:
    constants = {r.name: (r.sets, r.low, r.high, r.every, r.ramp, r.until) for r in RULES.values()}
    assert constants == {
        "tempbalance": ("lr", 0.5, 1.5, 200, 0, 1.0),
        "llr": ("lr", 1.0, 3.0, 40, 20, 0.2),
        "alphadecay": ("weight_decay", 0.6666, 5.0, 500, 0, 1.0),
    }
    assert all("github.com" in rule.source for rule in RULES.values())


def test_ramp_reaches_its_target_exactly_and_stays() -> None:
    assert [ramped(1.0, 2.0, done=n, ramp=2) for n in range(-1, 4)] == [1.0, 1.0, 1.5, 2.0, 2.0]
    assert ramped(1.0, 0.3, done=1, ramp=0) == ramped(1.0, 0.3, done=-1, ramp=0) == 0.3
    assert ramped(0.1, 0.3, done=3, ramp=3) == 0.3  # not 0.1 + 0.2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rule": "LLR"}, "rule: expected one of tempbalance, llr, alphadecay, got 'LLR'"),
        ({"every": 0}, "every: expected a whole number from 1, got 0"),
        ({"every": True}, "every: expected"),
        ({"ramp": 1.5}, "ramp: expected a whole number from 0, got 1.5"),
        ({"low": 3.5}, "low, high: expected 0 <= low <= high, got 3.5 and 3.0"),
        ({"high": math.inf}, "expected finite numbers, got inf"),
        ({"until": 40}, "until: expected a share of the training above 0 and up to 1, got 40"),
        ({"until": 0}, "until: expected a share of the training above 0 and up to 1, got 0"),
    ],
)
def test_options_that_cannot_be_used(changes: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError) as error:
        get_rule(**{"rule": "llr", **changes})  # type: ignore[arg-type]
    assert text in str(error.value)
