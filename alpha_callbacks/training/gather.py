"""What one rank sees of sharded weights: a digest of its own part, and the whole of those that it is to analyse."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from alpha_callbacks.analysis.processes import error_text
from alpha_callbacks.errors import MonitorError
from alpha_callbacks.training.weight_digest import digest
from alpha_callbacks.weights.sharded import ShardedParameter, identity
from alpha_callbacks.weights.weight import Weight


def gathered(todo: Sequence[Weight], own: Collection[str], *, copy: bool) -> list[Weight]:
    """Return the weights of this rank, readable without the other ranks. Collective for sharded ones.

    Every rank enters every context, in the same order, whatever fails in one of them: if one left early, the others
    would wait for it. Sharded parameters are gathered one by one, and only what this rank is to analyse is kept.

    Args:
        todo: in the same order on every rank.
        own: layer names of this rank.
        copy: also copy to the CPU what is not sharded.
    """
    mine: list[Weight] = []
    for sharded, group in _by_context(todo):
        kept = [weight for weight in group if weight.layer_name in own]
        if sharded is None or all(weight.unsupported for weight in group):
            mine += map(_copied, kept) if copy else kept
            continue
        copies: list[Weight] = []
        try:
            with sharded.whole():
                copies = [_copied(weight) for weight in kept]
        except Exception as error:
            copies = copies or [_unreadable(weight, error) for weight in kept]
        mine += copies
    return mine


def digests_of(weights: Iterable[Weight]) -> dict[str, bytes]:
    """Return a digest of what this rank holds of each layer; those that cannot be read are left out.

    The layers of one FSDP1 unit share theirs, which is taken once.
    """
    seen: dict[object, bytes | None] = {}
    found: dict[str, bytes] = {}
    for weight in weights:
        key = id(weight) if weight.sharded is None else identity(weight.sharded)
        if key not in seen:
            seen[key] = _digest(weight)
        if not weight.unsupported and (value := seen[key]) is not None:
            found[weight.layer_name] = value
    return found


def _by_context(weights: Iterable[Weight]) -> Iterator[tuple[ShardedParameter | None, list[Weight]]]:
    """Yield the weights of each context together: those of an FSDP1 unit need not follow one another."""
    groups: dict[tuple[int, ...], list[Weight]] = {}
    for weight in weights:
        groups.setdefault(identity(weight.sharded), []).append(weight)
    for group in groups.values():
        yield group[0].sharded, group


def _digest(weight: Weight) -> bytes | None:
    try:
        parts: Iterable[Tensor] = weight.held().row_blocks() if weight.sharded is None else weight.sharded.local()
        return digest(parts)
    except Exception:  # the analysis will say why
        return None


def _copied(weight: Weight) -> Weight:
    if weight.unsupported:  # its rows are not weights, and reading them may take all ranks
        return weight
    try:
        return weight.copied()
    except Exception as error:
        return _unreadable(weight, error)


def _unreadable(weight: Weight, error: Exception) -> Weight:
    """Return a weight whose analysis fails with the type and text of this error, which become its reason.

    The error itself is not kept: its traceback leads to the model, and, once raised from here, back to this weight.
    """
    kind, text = type(type(error).__name__, (MonitorError,), {}), error_text(error)

    def rows(start: int, stop: int) -> Tensor:
        raise kind(text)

    return replace(weight, rows=rows, sharded=None)
