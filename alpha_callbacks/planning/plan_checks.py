"""Does a plan belong to a checkpoint? Found out from headers, before any weight is read."""

from pathlib import Path

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.utils.labels import some_names
from alpha_callbacks.weights.canonical_names import pairing_key


def check_plan(plan: Plan, model: Path) -> None:
    """Compare names and shapes of a plan's layers with those of a checkpoint.

    Raises:
        PlanError: the checkpoint lacks a layer, or has it in another shape.
        CheckpointError: the checkpoint cannot be read.
    """
    shapes = _shapes(model)
    missing = [choice.layer_name for choice in plan.choices if choice.layer_name not in shapes]
    if missing:
        raise PlanError(
            f"{model}: expected the layers of the plan{_of(plan)}, {len(missing)} are missing (e.g. {missing[0]}). "
            f"{some_names(list(shapes))} Use the plan with the model that was scanned."
        )
    for choice in plan.choices:
        if shapes[choice.layer_name] != (choice.out_features, choice.in_features):
            raise PlanError(
                f"{choice.layer_name}: expected shape {_shape(choice.out_features, choice.in_features)} as in the plan"
                f"{_of(plan)}, got {_shape(*shapes[choice.layer_name])} in {model}. Use the plan with the model that "
                "was scanned."
            )


def check_model(plan: Plan, model: Path) -> None:
    """Refuse a plan of another model, whatever a library calls the layers of this one.

    A plan of a GGUF file may be one for the folder that it was made from, so names are compared loosely, and those that
    stand for several layers not at all.

    Raises:
        PlanError: no layer of the plan is in the checkpoint, or one has another shape.
        CheckpointError: the checkpoint cannot be read.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for name, shape in (shapes := _shapes(model)).items():
        found.setdefault(pairing_key(name), set()).add(shape)
    keys = {choice.layer_name: pairing_key(choice.layer_name) for choice in plan.choices}
    if found and not any(key in found for key in keys.values()):
        raise PlanError(
            f"{model}: expected the layers of the plan{_of(plan)}, got none of its {len(keys)} (e.g. "
            f"{plan.choices[0].layer_name}). {some_names(list(shapes))} Use the plan with the model that was scanned."
        )
    for choice in plan.choices:
        others = found.get(keys[choice.layer_name], set())
        if others and (choice.out_features, choice.in_features) not in others:
            raise PlanError(
                f"{choice.layer_name}: expected shape {_shape(choice.out_features, choice.in_features)} as in the plan"
                f"{_of(plan)}, got {_shape(*min(others))} in {model}. Use the plan with the model that was scanned."
            )


def _shapes(model: Path) -> dict[str, tuple[int, int]]:
    weights = open_checkpoint(model).inventory(AnalysisOptions(include_embeddings=True)).weights
    return {weight.layer_name: (weight.out_features, weight.in_features) for weight in weights}


def _shape(rows: int, columns: int) -> str:
    return f"{rows}x{columns}"


def _of(plan: Plan) -> str:
    return f" of {plan.model}" if plan.model else ""
