"""What an adapter does to one weight, before the weight itself is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from alpha_callbacks.weights.sharded import ShardedParameter, joined
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor

Read = Callable[[int, int], Tensor]  # rows start..stop


def add_change(base: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return base + change, row by row."""
    return base + rows["change"]


@dataclass(frozen=True)
class Update:
    """What an adapter does to one weight. Everything is computed in float64 from the stored factors.

    Attributes:
        name: parameter path of the weight, as the adapter spells it.
        method: name and rank, for the reader.
        shape: of the change, (out_features, in_features, ...) as nn.Linear and convolutions store it; 0 where only the
            base tells.
        rows: what -> reader of its rows, one per output feature: "change" (in_features wide), "left" (the factor of
            a low-rank change), "scale" (one number).
        right: the other factor of a low-rank change, shape (rank, in_features): change = left @ right.
        rank: its number of rows; 0 without it.
        combine: (rows of the base, rows of the readers) -> rows of the adapted weight, all float64.
        kind: of the module.
        unsupported: why the change is not computed, or "".
        sharded: how to see its factors, where the ranks of a training run hold parts.
    """

    name: str
    method: str
    shape: tuple[int, ...]
    rows: Mapping[str, Read] = field(default_factory=dict)
    right: Callable[[], Tensor] | None = None
    rank: int = 0
    combine: Callable[[Tensor, Mapping[str, Tensor]], Tensor] = add_change
    kind: Kind = "linear"
    unsupported: str = ""
    sharded: ShardedParameter | None = None

    @property
    def needs_base(self) -> bool:
        """True if the change is a function of the weight."""
        return self.combine is not add_change

    def refused(self, why: str) -> "Update":
        """Return the same update as one that cannot be computed."""
        return replace(self, right=None, unsupported=f"{self.method}: {why}")

    def of_factors(self, *factors: StoredTensor, fit: bool) -> "Update":
        """Return the same update, refused unless its factors fit together; the reason names their shapes."""
        if fit:
            return self
        *first, last = ("x".join(map(str, factor.shape)) for factor in factors)
        return self.refused(f"factors of shape {', '.join(first)} and {last}, which have no product here")

    def on(self, out_features: int, in_features: int) -> "Update":
        """Return the same update for a weight of this shape, where the adapter leaves its shape open."""
        if 0 not in self.shape:
            return self
        if self.right is None:
            return replace(self, shape=(out_features, in_features))
        right, shape = self.right, (self.shape[0], in_features)
        made = low_rank(self.name, self.method, self.rows["left"], lambda: right()[:, :in_features], self.rank, shape)
        return replace(made, sharded=self.sharded)

    def transposed(self) -> "Update":
        """Return the same update of an expert stack whose matrices are stored (in, out)."""
        read = self.rows["change"]
        experts, out_features, in_features = self.shape
        return replace(
            self,
            shape=(experts, in_features, out_features),
            rows={"change": lambda start, stop: read(start, stop).mT},
        )

    def stored(self, what: str = "change") -> StoredTensor:
        """Return its rows as a tensor of the weight's name, so that it is named and split as the weight is."""
        shape = (self.shape[0], *{"change": self.shape[1:], "left": (self.rank,)}.get(what, (1,)))
        read, why = self.rows.get(what, _none), self.unsupported
        return StoredTensor(
            self.name, shape, torch.float64, self.method, read, self.kind, packed=why, sharded=self.sharded
        )


def _none(start: int, stop: int) -> Tensor:
    raise AssertionError("an update that needs its base was read without it")


def low_rank(
    name: str,
    method: str,
    left: Read,
    right: Callable[[], Tensor],
    rank: int,
    shape: tuple[int, ...],
    kind: Kind = "linear",
) -> Update:
    """Return the update left @ right.

    Args:
        name: parameter path of the weight.
        method: name and rank.
        left: reader of the factor of shape (out_features, rank), float64.
        right: returns the factor of shape (rank, in_features), float64, scaled.
        rank: its number of rows.
        shape: of the change.
        kind: of the module.
    """

    def change(start: int, stop: int) -> Tensor:
        return (left(start, stop) @ right()).reshape(-1, *shape[1:])

    return Update(name, method, shape, {"change": change, "left": left}, right, rank, kind=kind)


def together(updates: Sequence[Update]) -> Update:
    """Return what several adapters that act at once do to one weight: the sum of their changes."""
    first, *others = updates
    if not others:
        return first
    if refused := next((update for update in updates if update.unsupported), None):
        return refused
    method = " and ".join(update.method for update in updates)
    summed = replace(first, method=method, sharded=joined(*(update.sharded for update in updates)))
    if any(update.needs_base or update.shape != first.shape or 0 in update.shape for update in updates):
        return summed.refused("several adapters act at once, and not all of them are sums of known shape")
    lefts, rights = [update.rows["left"] for update in updates if update.right], [u.right for u in updates if u.right]
    if len(rights) < len(updates):

        def change(start: int, stop: int) -> Tensor:
            return torch.stack([update.rows["change"](start, stop) for update in updates]).sum(0)

        return replace(summed, rows={"change": change}, right=None, rank=0)
    made = low_rank(
        first.name,
        method,
        lambda start, stop: torch.cat([left(start, stop) for left in lefts], dim=1),
        lambda: torch.cat([right() for right in rights]),
        sum(update.rank for update in updates),
        first.shape,
        first.kind,
    )
    return replace(made, sharded=summed.sharded)


def whole(tensor: StoredTensor) -> Tensor:
    """Return all of a factor in float64."""
    return tensor.read(0, tensor.shape[0] if tensor.shape else 1).double()
