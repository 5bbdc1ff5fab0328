"""What a recommendation says: the plan, the evidence per layer, and the alternatives."""

from collections.abc import Mapping
from dataclasses import dataclass

from alpha_callbacks.planning.plan import Choice, Plan


@dataclass(frozen=True)
class Advice:
    """One layer of a recommendation.

    Attributes:
        choice: what the plan says.
        alpha: at the reference precision.
        alpha_ratio: alpha / alpha of noise.
        drift: alpha at the chosen format minus alpha; nan where it was not measured.
        relative_error: ||W - Q(W)||_F / ||W||_F at the chosen format.
        others: policy -> format that it would have chosen.
        stuck: True if it stays at 16 bits because it has no alpha or no measurable candidate.
    """

    choice: Choice
    alpha: float
    alpha_ratio: float
    drift: float
    relative_error: float
    others: Mapping[str, str]
    stuck: bool = False


@dataclass(frozen=True)
class PolicyComparison:
    """Another policy on the same layers.

    Attributes:
        policy: its name.
        average_bits: of what it would have chosen.
        error: root of the mean squared relative error over layers, nan where a format was not measured.
        agreement: share of layers with the same choice.
    """

    policy: str
    average_bits: float
    error: float
    agreement: float


@dataclass(frozen=True)
class Correlation:
    """Spearman rank correlation of alpha with the measured error of one format, over layers.

    Attributes:
        precision: the format.
        alpha: of alpha with its relative error.
        alpha_ratio: of alpha / noise with it.
        layers: how many.
    """

    precision: str
    alpha: float
    alpha_ratio: float
    layers: int


@dataclass(frozen=True)
class Recommendation:
    """A plan with what speaks for it.

    Attributes:
        plan: one choice per layer.
        layers: the same with the figures.
        alternatives: the plan itself first, then other policies (at the same bits where they have a budget).
        correlations: alpha against measured error, one per low-bit format.
        reference: precision of the alphas.
    """

    plan: Plan
    layers: tuple[Advice, ...]
    alternatives: tuple[PolicyComparison, ...]
    correlations: tuple[Correlation, ...]
    reference: str

    @property
    def kept(self) -> list[Choice]:
        """Layers that stay at 16 bits because they have no alpha or no measurable candidate."""
        return [advice.choice for advice in self.layers if advice.stuck]
