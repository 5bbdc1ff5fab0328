"""Which weights a state has: those of a live model or of a checkpoint, and what they are compared with."""

from pathlib import Path

from torch import nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.baseline import START, Baseline, ModelBaseline
from alpha_callbacks.training.live_weights import LiveWeights
from alpha_callbacks.training.start_baseline import StartBaseline
from alpha_callbacks.weights.inventory import Inventory


def open_baseline(option: str | Path | None, output_dir: Path) -> Baseline | None:
    """Return what the option of this name means for a run in this folder."""
    if option is None:
        return None
    return StartBaseline(output_dir) if option == START else ModelBaseline(option)


def of_module(model: nn.Module, options: AnalysisOptions, baseline: Baseline | None, listed: LiveWeights) -> Inventory:
    """Return the weights of a live model.

    Args:
        model: the model.
        options: which layers are wanted.
        baseline: what updates are since.
        listed: of earlier states.

    Raises:
        OptionError: adapters, whose updates are those since their own base, and another one is named.
    """
    found = listed.of(model, options)
    if isinstance(baseline, ModelBaseline) and any(weight.is_update for weight in found.weights):
        raise OptionError(
            f"baseline {baseline.checkpoint.source}: expected a model without adapters, whose updates are those since "
            'the base below them. Leave baseline out, or compare with adapters="merged".'
        )
    return found


def of_checkpoint(path: str | Path, options: AnalysisOptions, baseline: Baseline | None) -> Inventory:
    """Return the weights of a checkpoint, each with its update where another model is named to compare with."""
    checkpoint = open_checkpoint(path)
    if isinstance(baseline, ModelBaseline):
        return checkpoint.inventory_with_base(baseline.checkpoint, options)
    return checkpoint.inventory(options)
