"""A quantization plan: layer -> precision and why. What policies make, and exporters, writers and `evaluate` take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alpha_callbacks.errors import PlanError
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.categorize import categorize


@dataclass(frozen=True)
class Choice:
    """What a plan says of one weight matrix.

    Attributes:
        layer_name: module path without ".weight", as a scan names it.
        category: see `categories`.
        out_features: rows of the weight.
        in_features: columns of the weight.
        precision: canonical name; a 16-bit or wider one leaves the weight to be stored as a plain float.
        reason: one sentence.
        budgeted: False for layers that are kept by rule and do not count for the average bits.
        tied_to: layer that owns the same storage, or "".
    """

    layer_name: str
    category: str
    out_features: int
    in_features: int
    precision: str
    reason: str = ""
    budgeted: bool = True
    tied_to: str = ""

    def __post_init__(self) -> None:
        """Put the precision into canonical form: exporters read it, and "int4" must not mean two things."""
        object.__setattr__(self, "precision", get_precision(self.precision).name)

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features

    @property
    def format(self) -> Precision:
        """The format of `precision`."""
        return get_precision(self.precision)

    @property
    def low_bit(self) -> bool:
        """True if a quantizer has to store it."""
        return self.format.low_bit

    @property
    def effective_bits(self) -> float:
        """Bits of one weight, scales included."""
        return self.format.effective_bits(self.out_features, self.in_features)


@dataclass(frozen=True)
class Plan:
    """One choice a layer, in module order.

    Attributes:
        choices: every matrix that was analysed, also those that are kept.
        policy: what decided ("measured", ...), or "" for a plan made by hand.
        settings: the options of the policy.
        model: where the weights came from.
    """

    choices: tuple[Choice, ...]
    policy: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""

    def __post_init__(self) -> None:
        """Check that there are layers and none is named twice.

        Raises:
            PlanError: there are none, or one is.
        """
        names = [choice.layer_name for choice in self.choices]
        if not names:
            raise PlanError("plan: expected at least one layer, got none.")
        if twice := {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set():
            raise PlanError(f"plan: expected each layer once, got {min(twice)} twice.")

    def average_bits(self, *, budgeted: bool = True) -> float:
        """Return the mean effective bits, weighted by parameters; nan where no layer counts.

        Args:
            budgeted: only the layers that the policy decides about; False: all of them.
        """
        counted = [choice for choice in self.choices if choice.budgeted or not budgeted]
        weights = sum(choice.numel for choice in counted)
        return sum(c.numel * c.effective_bits for c in counted) / weights if weights else float("nan")

    @property
    def numel(self) -> int:
        """Number of weights of all its matrices; one that shares another's storage counts once."""
        return sum(choice.numel for choice in self.choices if not choice.tied_to)

    @property
    def nbytes(self) -> float:
        """Bytes of all its matrices; one that shares another's storage counts once."""
        return sum(c.numel * c.effective_bits for c in self.choices if not c.tied_to) / 8

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Tables outside the plan that matrices in it share a storage with: neither is in `numel` and `nbytes`."""
        own = {choice.layer_name for choice in self.choices}
        return tuple(dict.fromkeys(c.tied_to for c in self.choices if c.tied_to and c.tied_to not in own))

    def modules(self) -> dict[str, Choice]:
        """Return module path -> choice, the parts of a fused matrix (qkv_proj, gate_up_proj) joined again.

        Raises:
            PlanError: parts of one module have different precisions, which no module can hold.
        """
        found: dict[str, Choice] = {}
        for choice in self.choices:
            name = module_name(choice.layer_name)
            first = found.setdefault(name, choice)
            if first.precision != choice.precision:
                raise PlanError(
                    f"{name}: expected one precision for the parts of a fused matrix, got {first.precision} for "
                    f"{first.layer_name} and {choice.precision} for {choice.layer_name}. Do not use --untied."
                )
        return found


_GROUPED = ("o_a_proj", "wo_a")  # of DeepSeek-V4: a matrix for each group of heads, in one module
_PARTS = {
    "attn_qkv": ("q", "k", "v"), "mlp_gate_up": ("gate", "up"), "moe_expert_gate_up": ("gate", "up"),
    "moe_shared_gate_up": ("gate", "up"), "cross_attn_qkv": ("q", "k", "v"),
}  # fmt: skip


def module_name(layer_name: str) -> str:
    """Return the module that holds a layer: itself, or the fused one that it is a part of.

    Examples:
        >>> module_name("model.layers.0.self_attn.qkv_proj.q"), module_name("model.layers.0.self_attn.q_proj")
        ('model.layers.0.self_attn.qkv_proj', 'model.layers.0.self_attn.q_proj')
    """
    parent, _, last = layer_name.rpartition(".")
    if last.isdecimal() and parent.rpartition(".")[2] in _GROUPED:
        return parent
    return parent if parent and last in _PARTS.get(categorize(parent), ()) else layer_name
