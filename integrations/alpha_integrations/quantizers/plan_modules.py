"""What every target needs from a plan: which modules to quantize, and the fields of their formats."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import Coverage, refuse
from alpha_callbacks.planning.plan import Choice, Plan, module_name
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.loaded_model import LoadedModel, Place

KEEP = "Keep them at 16 bits (recommend --keep REGEX)."
_NOT_LINEAR = ("embedding", "conv")


@dataclass(frozen=True)
class Modules:
    """The modules of a plan, under the names that they have once transformers has loaded the model.

    Attributes:
        low: path -> choice, for the modules to quantize.
        wide: paths of all others.
        stacked: name in the files -> (choice, path of the module that holds all experts), for those to quantize that
            transformers keeps in one parameter.
        odd: name in the files -> path of the module that has it, "" if the model has none of this name; for those to
            quantize that this target does not take.
        weights: name in the files -> number of weights, for all modules.
        known: the model was looked at; else the names are those of its files, and all are taken for linear layers.
        biased: those of `low` that have a bias.
    """

    low: Mapping[str, Choice]
    wide: tuple[str, ...]
    stacked: Mapping[str, tuple[Choice, str]]
    odd: Mapping[str, str]
    weights: Mapping[str, int]
    known: bool
    biased: frozenset[str]

    def coverage(self, consumer: str, *, stacks: bool = False) -> Coverage | None:
        """Return how much of the model a consumer quantizes that takes linear layers.

        Args:
            consumer: its name.
            stacks: it takes the parts of stacks too.
        """
        if not self.known:
            return None
        linear = sum(self.weights[module_name(choice.layer_name)] for choice in self.low.values())
        inside, odd = (sum(self.weights[name] for name in names) for names in (self.stacked, self.odd))
        reached = linear + inside * stacks
        return Coverage(consumer, reached, linear + inside + odd, sum(self.weights.values()), self.left(stacks=stacks))

    def left(self, *, stacks: bool = False) -> str:
        """Return which matrices the loaded model has in no linear layer, and what it does with them; "" if none.

        Args:
            stacks: parts of stacks do not count.
        """
        parts = []
        if self.stacked and not stacks:
            first, (_, path) = next(iter(self.stacked.items()))
            parts.append(
                f"transformers stacks {len(self.stacked)} matrices of experts in parameters of modules such as {path} "
                f"({first})"
            )
        if self.odd:
            first, path = next(iter(self.odd.items()))
            where = f"in {path}, which is no linear layer" if path else "not in the model"
            parts.append(f"{len(self.odd)} are in no layer that it takes (e.g. {first} is {where})")
        return ", and ".join(parts)


def _linear(place: Place) -> bool:
    return place.kind == "linear"


def split_modules(
    plan: Plan, target: str, model: LoadedModel | None = None, *, takes: Callable[[Place], bool] = _linear
) -> Modules:
    """Sort the modules of a plan into those to quantize and all others.

    Args:
        plan: as a scan of files gives it.
        target: name of the format, for messages.
        model: the loaded model; None: what transformers would make of `plan.model`, if that is on disk.
        takes: which modules the target quantizes.

    Raises:
        PlanError: the names are those of a GGUF file, there is no module to quantize, or a module to quantize shares
            its storage, is not a linear layer or has a format without an encoding.
    """
    if gguf := next((c.layer_name for c in plan.choices if c.layer_name.startswith("blk.")), None):
        raise PlanError(
            f"{target}: expected module paths, got {gguf}, a tensor of a GGUF file. Scan the safetensors checkpoint."
        )
    modules = plan.modules()
    if not any(choice.low_bit for choice in modules.values()):
        raise PlanError(f"{target}: expected a layer below 16 bits, got none. There is nothing to quantize.")
    for name, choice in modules.items():
        if choice.low_bit:
            _check(name, choice, target)
    model = model or LoadedModel.of(plan.model)
    places = {name: model.place(name) if model else Place(name, "linear") for name in modules}
    low, wide = dict[str, Choice](), dict[str, None]()
    stacked, odd = dict[str, tuple[Choice, str]](), dict[str, str]()
    for name, choice in modules.items():
        place = places[name]
        if not choice.low_bit:
            wide[place.path if place and place.kind != "stack" else name] = None
        elif place and takes(place):
            low[place.path] = choice
        elif place and place.kind == "stack":
            stacked[name] = choice, place.path
        else:
            odd[name] = place.path if place else ""
    weights = Counter[str]()
    for choice in plan.choices:
        weights[module_name(choice.layer_name)] += 0 if choice.tied_to else choice.numel
    biased = frozenset(place.path for place in places.values() if place and place.bias and place.path in low)
    return Modules(low, tuple(wide), stacked, odd, weights, model is not None, biased)


def require_modules(target: str, modules: Modules) -> None:
    """Raise if nothing that a plan quantizes is a module of the loaded model.

    Raises:
        PlanError: that is so.
    """
    if not modules.low:
        raise PlanError(f"{target}: expected linear layers to quantize, got none: {modules.left()}. {KEEP}")


def _check(name: str, choice: Choice, target: str) -> None:
    if choice.tied_to:
        raise PlanError(
            f"{target}: expected 16 bits for {name}, which shares its storage with {choice.tied_to}, "
            f"got {choice.precision}. Keep it at bf16."
        )
    if choice.category in _NOT_LINEAR:
        raise PlanError(
            f"{target}: expected a linear layer, got {name} ({choice.category}) at {choice.precision}. Keep it at bf16."
        )
    encoding_of(choice, target)


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
        if module_name(c.layer_name) != c.layer_name and c.format.storage is not None and c.format.storage.tensor
    ]
    if not whole:
        return ()
    return (
        f"{len(whole)} fused modules (e.g. {whole[0]}) have one scale of the whole matrix; it was measured for each "
        "part (q, k, v or gate, up) by itself.",
    )


def name_notes(modules: Modules) -> tuple[str, ...]:
    """Say that names were not compared with the model, where it is not at hand."""
    if modules.known:
        return ()
    return (
        "The model of the plan is not at hand, or transformers does not know it: whether its modules have the names of "
        "its files was not seen. What has another name stays as it is. Give --model to compare them.",
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
