"""What the weights of a run are compared with: a model on disk, or the run's own start."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.adapters.matching import matches
from alpha_callbacks.weights.layer_names import UPDATE
from alpha_callbacks.weights.updates import difference, without_base
from alpha_callbacks.weights.weight import Weight

START = "start"


class Baseline:
    """Gives each weight the row of its update W - W0. Every rank has one.

    Attributes:
        notes: what a reader of the rows has to know about W0.
    """

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self._weights: Mapping[str, Weight] = {}
        self._found: Mapping[str, str] = {}
        self._norms: dict[str, float] = {}

    def prepare(self, weights: Sequence[Weight], mine: Sequence[Weight], step: int, ranks: Ranks) -> None:
        """Make W0 known, before the first state is analysed. Collective.

        Args:
            weights: all of the first state.
            mine: those that this rank can read.
            step: of the first state.
            ranks: of the run.

        Raises:
            CheckpointError: it does not belong to these weights.
        """

    def names(self, weight: Weight, others: Collection[str]) -> tuple[str, ...]:
        """Return the names of the rows of a weight: its own, and that of its update unless it is among the others."""
        name = weight.layer_name
        return (name,) if weight.is_update or f"{name}{UPDATE}" in others else (name, f"{name}{UPDATE}")

    def beside(self, weights: Iterable[Weight], others: Collection[str]) -> list[Weight]:
        """Return weights, each followed by its update; one that has an update already (of an adapter) keeps that."""
        found = []
        for weight in weights:
            found += [weight, self._update(weight)] if len(self.names(weight, others)) > 1 else [weight]
        return found

    def _update(self, weight: Weight) -> Weight:
        other = self._weights.get(self._found.get(weight.layer_name, ""))
        if other is None or weight.unsupported:
            return without_base(weight)
        return replace(difference(weight, other), base_norm=lambda: self._norm(other))

    def _norm(self, weight: Weight) -> float:
        """Return ||W0||_F, computed once."""
        if weight.layer_name not in self._norms:
            self._norms[weight.layer_name] = weight.frobenius_norm()
        return self._norms[weight.layer_name]


class ModelBaseline(Baseline):
    """A model on disk, opened when the run begins.

    Attributes:
        checkpoint: the model.

    Raises:
        CheckpointError: it cannot be read, or is an adapter.
    """

    def __init__(self, source: str | Path) -> None:
        super().__init__()
        self.checkpoint: Checkpoint = open_checkpoint(locate(source))
        if self.checkpoint.is_adapter:
            raise CheckpointError(f"baseline {source}: expected a model, got an adapter. Name the model below it.")
        self.notes = (f'the rows named "(update)" are W - W0, W0 the weights of {source}',)

    def prepare(self, weights: Sequence[Weight], mine: Sequence[Weight], step: int, ranks: Ranks) -> None:
        """Find the layers of this model in that one.

        Raises:
            CheckpointError: not one of them is there in the same shape.
        """
        if any(weight.is_update for weight in weights):
            return  # of a checkpoint, read beside its base
        listed = self.checkpoint.inventory(AnalysisOptions(include_embeddings=True)).weights
        self._weights = {weight.layer_name: weight for weight in listed}
        self._found = matches([weight.layer_name for weight in weights], self._weights)
        pairs = [(weight, self._weights.get(self._found.get(weight.layer_name, ""))) for weight in weights]
        if not any(other is not None and _shape(other) == _shape(weight) for weight, other in pairs):
            first, other = pairs[0]
            other = other or next(iter(listed), None)
            got = "nothing" if other is None else f"{other.layer_name} ({_shape(other)})"
            raise CheckpointError(
                f"baseline {self.checkpoint.source}: expected layers with the names and shapes of this model, no layer "
                f"fits ({first.layer_name} ({_shape(first)}) here, {got} there). Name the model that training began "
                "with."
            )


def checked_baseline(value: Any) -> Any:
    """Return the option `baseline` if it can be used.

    Raises:
        OptionError: neither None, "start", a path nor a model id.
    """
    if value is None or isinstance(value, str | Path) and str(value):
        return value
    raise OptionError(f'baseline: expected None, "start", a path or a model id, got {value!r}.')


def _shape(weight: Weight) -> str:
    return f"{weight.out_features}x{weight.in_features}"
