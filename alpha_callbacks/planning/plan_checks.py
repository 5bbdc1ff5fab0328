"""Does a plan belong to a checkpoint? Found out from headers, before any weight is read."""

from pathlib import Path

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import Plan


def check_plan(plan: Plan, model: Path) -> None:
    """Compare names and shapes of a plan's layers with those of a checkpoint.

    Raises:
        PlanError: the checkpoint lacks a layer, or has it in another shape.
        CheckpointError: the checkpoint cannot be read.
    """
    weights = open_checkpoint(model).inventory(AnalysisOptions(include_embeddings=True)).weights
    shapes = {weight.layer_name: (weight.out_features, weight.in_features) for weight in weights}
    missing = [choice.layer_name for choice in plan.choices if choice.layer_name not in shapes]
    if missing:
        raise PlanError(
            f"{model}: expected the layers of the plan, {len(missing)} are missing (e.g. {missing[0]}). "
            "Use the plan with the model that was scanned."
        )
    for choice in plan.choices:
        if shapes[choice.layer_name] != (choice.out_features, choice.in_features):
            found = "x".join(map(str, shapes[choice.layer_name]))
            raise PlanError(
                f"{choice.layer_name}: expected shape {choice.out_features}x{choice.in_features} as in the plan, got "
                f"{found} in {model}. Use the plan with the model that was scanned."
            )
