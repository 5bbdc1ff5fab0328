"""Alphas of layers -> multipliers of their learning rate or weight decay, by the rules of three papers. Pure.

All three map alpha linearly: the layer with the smallest alpha (heaviest tail, the best trained) gets the smallest
multiplier, the one with the largest alpha the largest. They differ in what is multiplied, by how much, in which layers
take part, and in when they decide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from alpha_callbacks.errors import OptionError

Setting = Literal["lr", "weight_decay"]
Ends = Literal["kept", "highest"]


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Rule:
    """A rule with its published constants.

    Attributes:
        name: as in `RULES`.
        sets: what is multiplied, by its name in a parameter group.
        low: multiplier of the layer with the smallest alpha.
        high: multiplier of the layer with the largest alpha.
        every: optimizer steps between two decisions.
        ramp: optimizer steps in which a new multiplier is reached, in equal steps; 0: at once.
        until: share of the training in which decisions are made, 0 < until <= 1; the last one stays.
        ends: "kept": the first and the last linear or convolution layer take no part; "highest": the embedding and the
            language head get `high`.
        source: paper, code and where the constants stand.
        min_eigs: a layer with fewer eigenvalues takes no part (`eigs_thresh` in the code of all three papers).

    Raises:
        OptionError: a number that cannot be used.
    """

    name: str
    sets: Setting
    low: float
    high: float
    every: int
    ramp: int
    until: float
    ends: Ends
    source: str
    min_eigs: int = 50

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in (("every", 1), ("ramp", 0), ("min_eigs", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{name}: expected a whole number from {least}, got {value!r}.")
        numbers = [value for value in (self.low, self.high, self.until) if not _is_number(value)]
        if numbers:
            raise OptionError(f"low, high, until: expected finite numbers, got {numbers[0]!r}.")
        if not 0 <= self.low <= self.high:
            raise OptionError(f"low, high: expected 0 <= low <= high, got {self.low} and {self.high}.")
        if not 0 < self.until <= 1:
            raise OptionError(f"until: expected a share of the training above 0 and up to 1, got {self.until}.")


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "tempbalance",
            sets="lr",
            low=0.5,
            high=1.5,
            every=200,
            ramp=0,
            until=1.0,
            ends="kept",
            source="Zhou et al., Temperature Balancing, NeurIPS 2023; github.com/YefanZhou/TempBalance: Tempbalance in "
            "tempbalance.py, once per epoch for images, --esd-interval 200 in language_modeling/.../train_tb.py",
        ),
        Rule(
            "llr",
            sets="lr",
            low=1.0,
            high=3.0,
            every=40,
            ramp=20,
            until=0.2,
            ends="highest",
            source="He et al., One LR Doesn't Fit All, ICML 2026, arXiv:2605.22297; "
            "github.com/hed-ucas/Layer-wise-Learning-Rate: configs/llama_1024/llama-*.yaml (1B: high=5, every=100, "
            "ramp=50)",
        ),
        Rule(
            "alphadecay",
            sets="weight_decay",
            low=0.6666,
            high=5.0,
            every=500,
            ramp=0,
            until=1.0,
            ends="kept",
            source="He et al., AlphaDecay, 2025, arXiv:2506.14562; github.com/hed-ucas/AlphaDecay: "
            "LLaMa-pretraining/scripts/Adamw/ours (Adam, where the decay is not decoupled: high=3)",
        ),
    )
}

_CONSTANTS = ("every", "ramp", "low", "high", "until", "min_eigs")
_OUTSIDE = ("embedding", "lm_head")  # categories


@dataclass(frozen=True)
class MeasuredLayer:
    """What a rule sees of a layer.

    Attributes:
        name: of the layer.
        category: as in `layer_names.CATEGORIES`.
        alpha: nan where there is none.
        n_eigs: number of eigenvalues of its smallest matrix.
    """

    name: str
    category: str
    alpha: float
    n_eigs: int


def get_rule(rule: str | Rule, **changes: Any) -> Rule:
    """Return a rule, with what is not None in `changes` in the place of its constants.

    Raises:
        OptionError: no rule of this name, no such constant, or a value that cannot be used.

    Examples:
        >>> get_rule("llr", high=5.0, every=None).high
        5.0
    """
    if isinstance(rule, str) and rule not in RULES or not isinstance(rule, str | Rule):
        raise OptionError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}.")
    chosen = RULES[rule] if isinstance(rule, str) else rule
    unknown = set(changes) - set(_CONSTANTS)
    if unknown:
        raise OptionError(f"{min(unknown)}: no constant of a rule. Expected some of {', '.join(_CONSTANTS)}.")
    return replace(chosen, **{name: value for name, value in changes.items() if value is not None})


def layer_multipliers(layers: Sequence[MeasuredLayer], rule: Rule) -> dict[str, float]:
    """Return the multiplier of every layer.

    low + (high - low) * (alpha - min alpha) / (max alpha - min alpha), over the layers that take part. The others, and
    those without alpha, keep what the optimizer has: 1. So do all where no two alphas differ.

    Args:
        layers: in module order, embeddings too.
        rule: one of `RULES`, or with other constants.

    Examples:
        >>> layers = [MeasuredLayer(name, "other", alpha, 64) for name, alpha in zip("abcde", (9, 2, 3, 4, 9))]
        >>> layer_multipliers(layers, RULES["tempbalance"])
        {'a': 1.0, 'b': 0.5, 'c': 1.0, 'd': 1.5, 'e': 1.0}
    """
    inside = [layer for layer in layers if layer.category not in _OUTSIDE]
    if rule.ends == "kept":
        inside = [layer for layer in layers if layer.category != "embedding"][1:-1]
    tuned = [layer for layer in inside if math.isfinite(layer.alpha) and layer.n_eigs >= rule.min_eigs]
    found = {layer.name: 1.0 for layer in layers}
    least, most = min((t.alpha for t in tuned), default=0.0), max((t.alpha for t in tuned), default=0.0)
    if least == most:
        return found
    for layer in tuned:
        found[layer.name] = rule.low + (rule.high - rule.low) * ((layer.alpha - least) / (most - least))
    if rule.ends == "highest":
        found |= {layer.name: rule.high for layer in layers if layer.category in _OUTSIDE}
    return found


def ramped(start: float, target: float, *, done: int, ramp: int) -> float:
    """Return the multiplier of the optimizer step that is number `done` (from 1) after a decision.

    Args:
        start: multiplier when the decision was made.
        target: what it decided.
        done: steps since then, this one included.
        ramp: steps in which the target is reached.

    Examples:
        >>> [ramped(1.0, 3.0, done=done, ramp=4) for done in range(1, 6)]
        [1.5, 2.0, 2.5, 3.0, 3.0]
    """
    return target if done >= ramp or ramp == 0 else start + (target - start) * (max(done, 0) / ramp)
