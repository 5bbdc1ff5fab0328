"""Plans that differ from a given one only in which layers got which format: what a policy has to beat."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.precisions.registry import get_precision

TOLERANCE = 0.01  # effective bits
_ATTEMPTS = 200


def random_plans(
    plan: Plan,
    count: int,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> list[Plan]:
    """Return plans with the formats of a plan in about the same shares, dealt out again, at the same effective bits.

    Args:
        plan: layers that it does not decide about keep their formats.
        count: how many.
        seed: the same seed gives the same plans.
        tolerance: largest difference of the mean of effective bits.
        groups: indices of layers that share a format; default: q/k/v, gate/up and experts, as in recommended plans.

    Returns:
        The plans; none where the plan has only one format, which leaves nothing to deal out.

    Raises:
        PlanError: no other plan with these bits was found, since layers are few or of very different sizes.
    """
    shared = units(plan.choices) if groups is None else groups
    free = [tuple(i for i in group if plan.choices[i].budgeted) for group in shared]
    deck = _Deck.of(plan, [group for group in free if group])
    if len(deck.formats) < 2:
        return []
    source, plans = random.Random(seed), list[Plan]()
    for number in range(1, count + 1):
        formats = {
            i: name for group, name in zip(deck.groups, deck.deal(source, tolerance), strict=True) for i in group
        }
        choices = tuple(
            replace(choice, precision=formats.get(i, choice.precision), reason="")
            for i, choice in enumerate(plan.choices)
        )
        dealt = Plan(choices, "random", {"seed": seed, "number": number}, plan.model)
        assert abs(dealt.average_bits() - plan.average_bits()) <= tolerance + 1e-9  # sums round
        plans.append(dealt)
    return plans


@dataclass(frozen=True)
class _Deck:
    """What is dealt out.

    Attributes:
        groups: indices of layers that share a format.
        formats: of the plan.
        bits: for each group, format -> its bits; without formats that cannot store it.
        weights: for each group, its number of weights.
        shares: format -> number of weights that have it in the plan.
        target: bits of the plan.
    """

    groups: Sequence[tuple[int, ...]]
    formats: Sequence[str]
    bits: Sequence[dict[str, float]]
    weights: Sequence[int]
    shares: dict[str, int]
    target: float

    @classmethod
    def of(cls, plan: Plan, groups: Sequence[tuple[int, ...]]) -> "_Deck":
        layers = [[plan.choices[i] for i in group] for group in groups]
        every = [choice for group in layers for choice in group]
        formats = sorted({choice.format.name for choice in every})
        bits = [
            {
                name: sum(replace(choice, precision=name).effective_bits * choice.numel for choice in group)
                for name in formats
                if all(choice.format.name == name or get_precision(name).fits(choice.in_features) for choice in group)
            }
            for group in layers
        ]
        shares = {name: sum(choice.numel for choice in every if choice.format.name == name) for name in formats}
        target = sum(choice.effective_bits * choice.numel for choice in every)
        return cls(groups, formats, bits, [sum(c.numel for c in group) for group in layers], shares, target)

    def deal(self, source: random.Random, tolerance: float) -> list[str]:
        """Return a format per group, the sum of bits within `tolerance` a weight of the target."""
        slack = tolerance * sum(self.weights)
        for _ in range(_ATTEMPTS):
            dealt = self._by_shares(source)
            missing = self.target - sum(bits[name] for bits, name in zip(self.bits, dealt, strict=True))
            while abs(missing) > slack and (moves := self._better(dealt, missing)):
                change, move = source.choice(moves)
                missing -= change
                for group, name in move:
                    dealt[group] = name
            if abs(missing) <= slack:
                return dealt
        average = self.target / sum(self.weights)
        raise PlanError(
            f"random plans: expected formats that can be dealt out again at {average:.3f} +- {tolerance:g} bits, found "
            f"none in {_ATTEMPTS} attempts for {len(self.groups)} groups of layers. "
            "There is nothing random to compare with; the uniform plans remain."
        )

    def _by_shares(self, source: random.Random) -> list[str]:
        """Deal to the groups in random order, each format as often as there are weights left for it."""
        left, dealt = dict(self.shares), [""] * len(self.groups)
        for group in source.sample(range(len(self.groups)), len(self.groups)):
            names = sorted(self.bits[group])
            dealt[group] = source.choices(names, [max(left[name], 1) for name in names])[0]
            left[dealt[group]] -= self.weights[group]
        return dealt

    def _better(self, dealt: Sequence[str], missing: float) -> list[tuple[float, tuple[tuple[int, str], ...]]]:
        """Return (bits gained, new formats) of all changes that bring the sum nearer: of one group, else of two."""
        singles = [
            (self.bits[group][name] - self.bits[group][dealt[group]], ((group, name),))
            for group in range(len(dealt))
            for name in sorted(self.bits[group])
        ]
        return [move for move in singles if _nearer(move[0], missing)] or [
            move for move in self._exchanges(dealt) if _nearer(move[0], missing)
        ]

    def _exchanges(self, dealt: Sequence[str]) -> Iterator[tuple[float, tuple[tuple[int, str], ...]]]:
        for a, b in combinations(range(len(dealt)), 2):
            if dealt[a] != dealt[b] and dealt[b] in self.bits[a] and dealt[a] in self.bits[b]:
                gained = sum(self.bits[g][new] - self.bits[g][old] for g, new, old in (
                    (a, dealt[b], dealt[a]), (b, dealt[a], dealt[b])
                ))  # fmt: skip
                yield gained, ((a, dealt[b]), (b, dealt[a]))


def _nearer(change: float, missing: float) -> bool:
    return abs(missing - change) < abs(missing)
