"""Does a checkpoint hold the weights in training? Averaging callbacks and optimizers put others into the file.

Nothing is known here of any of them: the rows of each layer in the file are compared with the model's, all of them or,
where that would take long, a few.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from alpha_callbacks.analysis.processes import Ranks, error_text
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.gather import gathered
from alpha_callbacks.weights.module_weights import state_dict_inventory
from alpha_callbacks.weights.weight import Weight

Place = str | Path | Mapping[str, Tensor]  # a file, a folder, or what was written to one

_WHOLE = 1 << 30  # bytes of a model up to which all rows are compared, a pass of half a second at most
_BLOCK = 1 << 20  # elements compared at a time
_SHARDED = 3  # layers compared of those that have to be gathered from all ranks
_CLOSE = 1e-3  # of an update, which the file holds in factors: relative to its largest element


@dataclass(frozen=True)
class Saved:
    """A checkpoint of the model's present state.

    Attributes:
        places: where it is; the first that can be read counts.
        used: analyse its weights where they are not the model's; False: say so, and analyse the model's.
    """

    places: Sequence[Place]
    used: bool = True

    @property
    def name(self) -> str:
        """What messages call it."""
        return next((str(place) for place in self.places if not isinstance(place, Mapping)), "the state dict")

    def weights(self, options: AnalysisOptions) -> list[Weight]:
        """Return what it holds.

        Raises:
            CheckpointError: it cannot be read.
        """
        for i, place in enumerate(self.places, start=1):
            try:
                if isinstance(place, Mapping):
                    return state_dict_inventory(place, options).weights
                return open_checkpoint(place).inventory(options).weights
            except CheckpointError:  # still being written, or on a server
                if i == len(self.places):
                    raise
        return []


@dataclass(frozen=True)
class Note:
    """What the user should know of a checkpoint.

    Attributes:
        name: of the checkpoint.
        text: goes on after the name; the same text about another one need not be said again.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Compared:
    """The weights to analyse.

    Attributes:
        weights: as listed by the model, in their order; some perhaps read from the checkpoint.
        of_first: layers that are read from the checkpoint; only the first rank can.
        note: None where nothing is to be said.
    """

    weights: list[Weight]
    of_first: frozenset[str] = frozenset()
    note: Note | None = None


def compared(weights: list[Weight], saved: Saved | None, ranks: Ranks, options: AnalysisOptions) -> Compared:
    """Return the weights that a checkpoint holds where they are not those of the model. Collective.

    All rows are compared, of a large or sharded model only a few of each layer: an average differs in every trained
    layer. If one layer differs, all are read from the file, since rows that were not compared may differ too. Under
    adapters, whose file holds base and update apart or no base at all, the updates are compared, and not replaced; with
    adapters="merged" there is nothing to compare.

    Args:
        weights: of the model, the same layers on every rank.
        saved: None: there is no checkpoint.
        ranks: the first one opens it; the others need no access.
        options: which layers count.
    """
    found: dict[str, Weight] = {}

    def look() -> tuple[list[str], str]:
        if saved is None or ranks.rank != 0 or options.adapters == "merged":
            return [], ""
        try:
            found.update((weight.layer_name, weight) for weight in saved.weights(options))
        except Exception as error:  # of whatever kind: the state of the model can still be measured
            return [], error_text(error) or type(error).__name__
        listed = [weight for weight in weights if weight.is_update] or weights
        alike = [weight.layer_name for weight in listed if _same_layer(weight, found.get(weight.layer_name))]
        if alike:
            return alike, ""
        if not found:
            return [], "nothing in it is known as a layer"
        return [], "it names its layers otherwise" if listed is weights else "it does not hold the updates of adapters"

    names, why = ranks.agree(look)[0]
    if names:
        among = set(names)
        common = [weight for weight in weights if weight.layer_name in among]
        live = [weight for weight in common if weight.sharded is None]
        live += gathered(_some(common), among if ranks.rank == 0 else (), copy=True)

        def differ() -> tuple[bool, str]:
            if ranks.rank != 0:
                return False, ""
            try:
                whole = len(live) == len(common) and sum(map(_size, live)) <= _WHOLE
                if any(_differs(weight, found[weight.layer_name]) for weight in live):
                    return True, ""
                return whole and any(_differs(weight, found[weight.layer_name], whole=True) for weight in live), ""
            except Exception as error:  # a file that is still being written, or damaged
                return False, error_text(error) or type(error).__name__

        differs, why = ranks.agree(differ)[0]
        if differs:
            assert saved is not None or ranks.rank != 0
            return _replaced(weights, found, among, saved, ranks)
    if not why or saved is None:
        return Compared(weights)
    return Compared(
        weights, note=Note(saved.name, f" was not compared with the weights in training, which the rows are of: {why}")
    )


def _replaced(
    weights: list[Weight], found: dict[str, Weight], among: set[str], saved: Saved | None, ranks: Ranks
) -> Compared:
    """Return the weights with those of the checkpoint among them, if these are to be used. Collective."""
    formats = ranks.from_first({name: (found[name].dtype, found[name].stored_dtype) for name in among & set(found)})
    # Of the first rank: others may not even see that there is a checkpoint.
    used, name = ranks.from_first((saved.used, saved.name) if saved is not None else (False, ""))
    other = " holds other values than the model in training (an average of weights, or another format)"
    if any(weight.is_update for weight in weights):  # the weights beside them would be of another state
        return Compared(
            weights, note=Note(name, f"{other}, which the rows are of. For those of the file: alpha-hill scan")
        )
    if not used:
        text = f'{other}, which the rows are of. With every="checkpoint" they are of the files'
        return Compared(weights, note=Note(name, text))
    taken = [
        replace(
            weight,
            dtype=formats[weight.layer_name][0],
            stored_dtype=formats[weight.layer_name][1],
            rows=found[weight.layer_name].rows if ranks.rank == 0 else _elsewhere,
            factors=found[weight.layer_name].factors if ranks.rank == 0 else None,
            sharded=None,
        )
        if weight.layer_name in formats
        else weight
        for weight in weights
    ]
    part = f", those of {len(formats)} of {len(weights)} layers" if len(formats) < len(weights) else ""
    return Compared(taken, frozenset(formats), Note(name, f"{other}. The rows of checkpoints are of the files{part}"))


def _same_layer(live: Weight, saved: Weight | None) -> bool:
    """Return True if both can be read and have one shape."""
    return (
        saved is not None
        and saved.sharded is None
        and not (live.unsupported or saved.unsupported)
        and (live.out_features, live.in_features) == (saved.out_features, saved.in_features)
    )


def _some(weights: Iterable[Weight]) -> list[Weight]:
    """Return a few of the sharded weights, evenly chosen: each has to be gathered."""
    sharded = [weight for weight in weights if weight.sharded is not None]
    return [sharded[round(i)] for i in torch.linspace(0, len(sharded) - 1, min(_SHARDED, len(sharded))).tolist()]


def _size(weight: Weight) -> int:
    return weight.out_features * weight.in_features * weight.dtype.itemsize


def _differs(live: Weight, saved: Weight, *, whole: bool = False) -> bool:
    """Return True if the first, middle or last row has other bits; of an update, which is computed, other values.

    Args:
        live: of the model.
        saved: of the checkpoint, in the same shape.
        whole: compare every row.
    """
    last = live.out_features - 1
    starts, count = sorted({0, last // 2, last}), 1
    if whole:
        count = max(1, _BLOCK // live.in_features)
        starts = list(range(0, live.out_features, count))
    spans = [(start, min(start + count, live.out_features)) for start in starts]
    return any(_other(live.rows(*span), saved.rows(*span), exact=not live.is_update) for span in spans)


def _other(one: Tensor, other: Tensor, *, exact: bool) -> bool:
    if not exact:
        return not _close(one.double().cpu(), other.double().cpu())
    return one.dtype != other.dtype or not torch.equal(_bits(one), _bits(other))


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=_CLOSE * float(other.abs().max()), equal_nan=True)


def _bits(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor in words of 8 bytes, which compare much faster, or in bytes if there is a rest."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    if len(flat) % 8:
        return flat
    return (flat.clone() if flat.storage_offset() % 8 else flat).view(torch.int64)


def _elsewhere(start: int, stop: int) -> Tensor:
    raise AssertionError("the first rank reads this weight from the checkpoint")
