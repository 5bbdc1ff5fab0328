"""What every target that names PyTorch modules needs from a plan: which to quantize, which to leave alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import refuse
from alpha_callbacks.planning.plan import Choice, Plan

_NOT_LINEAR = ("embedding", "conv")


@dataclass(frozen=True)
class Modules:
    """The modules of a plan.

    Attributes:
        low: module path -> choice, those to be quantized.
        wide: paths of all others.
    """

    low: Mapping[str, Choice]
    wide: tuple[str, ...]


def split_modules(plan: Plan, target: str) -> Modules:
    """Sort the modules of a plan.

    Args:
        plan: with module paths as layer names.
        target: name of the format, for messages.

    Raises:
        PlanError: the names are those of a GGUF file, no module is to be quantized, or one is that shares its storage
            or is no linear layer.
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
    return Modules(low, tuple(name for name in modules if name not in low))


def fused_notes(low: Mapping[str, Choice]) -> tuple[str, ...]:
    """Say where a scale of the whole matrix was measured for each part and will be stored once for all of them.

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


def refuse_unheld(target: str, low: Mapping[str, Choice], holds: Callable[[str], bool], can_hold: str) -> None:
    """Raise if there is a precision that the target cannot hold.

    Raises:
        PlanError: there is one.
    """
    refuse(target, [choice for choice in low.values() if not holds(choice.precision)], can_hold)


def refuse_ragged(target: str, low: Mapping[str, Choice], block_of: Callable[[str], int]) -> None:
    """Raise if rows do not divide into blocks, which quantizers pad, skip or get wrong, some without a word.

    Args:
        target: name of the format.
        low: the modules to quantize.
        block_of: precision -> weights along a row that share a scale.

    Raises:
        PlanError: there are such rows.
    """
    ragged = [(name, c) for name, c in low.items() if c.in_features % block_of(c.precision)]
    if ragged:
        name, choice = ragged[0]
        raise PlanError(
            f"{target}: expected in_features that is a multiple of {block_of(choice.precision)} for "
            f"{choice.precision}, got {choice.in_features} for {name} ({len(ragged)} layers). "
            "Keep it at bf16 or use a format with one scale a row."
        )
