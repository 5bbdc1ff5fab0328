"""What every target needs from a plan: which modules to quantize, and the fields of their formats."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import refuse
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.encoding import Encoding

_NOT_LINEAR = ("embedding", "conv")
_ONE_EXPERT = re.compile(r"\.experts\.\d+\.")


@dataclass(frozen=True)
class Modules:
    """The modules of a plan.

    Attributes:
        low: module path -> choice, for the modules to quantize.
        wide: paths of all others.
    """

    low: Mapping[str, Choice]
    wide: tuple[str, ...]


def split_modules(plan: Plan, target: str) -> Modules:
    """Sort the modules of a plan into those to quantize and all others.

    Args:
        plan: with module paths as layer names.
        target: name of the format, for messages.

    Raises:
        PlanError: the names are those of a GGUF file, there is no module to quantize, or a module to quantize shares
            its storage, is not a linear layer or has a format without an encoding.
    """
    if gguf := next((c.layer_name for c in plan.choices if c.layer_name.startswith("blk.")), None):
        raise PlanError(
            f"{target}: expected module paths, got {gguf}, a tensor of a GGUF file. Scan the safetensors checkpoint."
        )
    modules = plan.modules()
    low = {name: choice for name, choice in modules.items() if choice.low_bit}
    if not low:
        raise PlanError(f"{target}: expected a layer below 16 bits, got none. There is nothing to quantize.")
    for name, choice in low.items():
        if choice.tied_to:
            raise PlanError(
                f"{target}: expected 16 bits for {name}, which shares its storage with {choice.tied_to}, "
                f"got {choice.precision}. Keep it at bf16."
            )
        if choice.category in _NOT_LINEAR:
            raise PlanError(
                f"{target}: expected a linear layer, got {name} ({choice.category}) at {choice.precision}. "
                "Keep it at bf16."
            )
        encoding_of(choice, target)
    return Modules(low, tuple(name for name in modules if name not in low))


def encoding_of(choice: Choice, target: str) -> Encoding:
    """Return the fields of a layer's low-bit format.

    Raises:
        PlanError: the format has none, so that only its round trip is known.
    """
    encoding = choice.format.encoding
    if encoding is None:
        raise PlanError(
            f"{target}: expected a format with an encoding, got {choice.precision} for {choice.layer_name}, which can "
            "be measured but not exported. Set `encoding` of its Precision, or use another format."
        )
    return encoding


def fused_notes(low: Mapping[str, Choice]) -> tuple[str, ...]:
    """Say which fused modules get one stored scale although a scale was measured for each part.

    Args:
        low: module path -> choice, those to be quantized; a fused module has the choice of its first part.
    """
    whole = [
        name
        for name, c in low.items()
        if c.layer_name != name and c.format.storage is not None and c.format.storage.tensor
    ]
    if not whole:
        return ()
    return (
        f"{len(whole)} fused modules (e.g. {whole[0]}) have one scale of the whole matrix; it was measured for each "
        "part (q, k, v or gate, up) by itself.",
    )


def renamed_notes(low: Mapping[str, Choice]) -> tuple[str, ...]:
    """Say which modules have other names in transformers 5 than in the model's files, which the plan goes by.

    Args:
        low: module path -> choice, those to be quantized.
    """
    experts = [n for n, c in low.items() if c.category.startswith("moe_expert_") and _ONE_EXPERT.search(n)]
    inside = [name for name in low if name.startswith("language_model.")]
    found = (
        (experts, "transformers 5 stacks the experts of most families in one parameter"),
        (inside, "transformers 5 calls the module model.language_model"),
    )
    return tuple(
        f"Layers with the names of the model's files: {len(names)} (e.g. {names[0]}); {why}. Where that is so, they "
        "stay as they are, without a message."
        for names, why in found
        if names
    )


def refuse_unheld(target: str, low: Mapping[str, Choice], holds: Callable[[Encoding], bool], can_hold: str) -> None:
    """Raise if there is a format that the target cannot hold.

    Raises:
        PlanError: there is one.
    """
    refuse(target, [choice for choice in low.values() if not holds(encoding_of(choice, target))], can_hold)


def refuse_ragged(target: str, low: Mapping[str, Choice]) -> None:
    """Raise if rows do not divide into blocks. Quantizers pad or skip such rows or get them wrong, some silently.

    Args:
        target: name of the format.
        low: the modules to quantize.

    Raises:
        PlanError: there are such rows.
    """
    blocks = {name: encoding_of(choice, target).size or 1 for name, choice in low.items()}
    ragged = [name for name, choice in low.items() if choice.in_features % blocks[name]]
    if ragged:
        name, choice = ragged[0], low[ragged[0]]
        raise PlanError(
            f"{target}: expected in_features that is a multiple of {blocks[name]} for {choice.precision}, got "
            f"{choice.in_features} for {name} ({len(ragged)} layers). "
            "Keep it at bf16 or use a format with one scale per row."
        )
