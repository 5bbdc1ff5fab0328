"""How a plan is made: one frozen record, checked once."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from alpha_callbacks.errors import OptionError
from alpha_callbacks.planning.thresholds import Protect
from alpha_callbacks.precisions.registry import get_precision, parse_precisions

Policy = Literal["measured", "fisher", "alphaq", "thresholds"]


@dataclass(frozen=True)
class RecommendOptions:
    """How a plan is made.

    Attributes:
        policy: "measured" (None too), "fisher" (measured, weighted by sensitivities), "alphaq" or "thresholds".
        avg_bits: mean of effective bits over the layers that are decided about; None: half way between the coarsest and
            the finest low-bit candidate. Not for "thresholds", which has no budget.
        candidates: low-bit formats to choose from; None: all that were scanned.
        bounds: of "thresholds".
        variation: of "thresholds": alpha that varies this much over 16-bit and wider precisions means 16 bits.
        gamma: of "alphaq": how much alpha counts.
        protect: which end of alpha is taken as sensitive; None: "high-alpha" for "thresholds", "low-alpha" for
            "alphaq", each as its authors have it. They contradict each other.
        untied: let q/k/v and gate/up differ.
        keep: regex searched in layer names; matches stay at 16 bits and outside the budget.
        quantize_head: decide about lm_head too, unless it is tied to the embedding.

    Raises:
        OptionError: a value that cannot be used.
    """

    policy: Policy | None = None
    avg_bits: float | None = None
    candidates: tuple[str, ...] | None = None
    bounds: tuple[float, float] = (2.5, 3.0)
    variation: float = 0.01
    gamma: float = 1.0
    protect: Protect | None = None
    untied: bool = False
    keep: str | None = None
    quantize_head: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without results."""
        _check("policy", self.policy, get_args(Policy))
        _check("protect", self.protect, get_args(Protect))
        if self.candidates is not None:
            names = parse_precisions(self.candidates)
            if wide := [name for name in names if not get_precision(name).low_bit]:
                raise OptionError(
                    f"candidates: expected formats below 16 bits, got {wide[0]}. 16 bits are used where needed."
                )
            object.__setattr__(self, "candidates", names)
        for name, value in (("avg_bits", self.avg_bits), ("gamma", self.gamma), ("bounds", sum(self.bounds))):
            if value is not None and not math.isfinite(value):
                raise OptionError(f"{name}: expected a finite number, got {value}.")
        if not self.bounds[0] <= self.bounds[1]:
            raise OptionError(f"bounds: expected low <= high, got {self.bounds[0]:g} and {self.bounds[1]:g}.")
        if self.policy == "thresholds" and self.avg_bits is not None:
            raise OptionError("avg_bits: the policy thresholds has no budget. Leave it out, or take another policy.")
        if self.protect is not None and self.policy in ("measured", "fisher"):
            raise OptionError(f"protect: the policy {self.policy} does not look at alpha. Leave it out.")
        try:
            re.compile(self.keep or "")
        except re.error as error:
            raise OptionError(f"keep: expected a regular expression, got {self.keep!r} ({error}).") from error


def _check(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise OptionError(f"{name}: expected one of {', '.join(choices)}, got {value!r}.")
