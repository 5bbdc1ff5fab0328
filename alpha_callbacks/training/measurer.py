"""The weights of a model in training -> a table: only what has changed is analysed, shared among the ranks."""

import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from alpha_callbacks.analysis.blank_rows import rows_without_alpha
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.analysis.parallel import analyze_weights, choose_parallelism
from alpha_callbacks.analysis.processes import Ranks, share
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import MonitorError, PeerError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.training.baseline import Baseline
from alpha_callbacks.training.gather import digests_of, gathered
from alpha_callbacks.training.saved_weights import Compared, Note, Saved, compared
from alpha_callbacks.utils.machine import available_memory, cpu_threads, local_ranks
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.weight import Weight

_FREE_SHARE = 0.25  # of free memory, for what one state leaves to the next; workers count on half of it


@dataclass(frozen=True)
class PendingState:
    """One state of a model, ready to be analysed without the model's ranks.

    Attributes:
        weights: all layers in module order; read only by `mine`.
        mine: what this rank is to analyse.
        reused: layers whose rows of an earlier state still hold.
        digests: what this rank has seen of the others, by layer name.
        note: what the user should know of its checkpoint.
    """

    weights: tuple[Weight, ...]
    mine: tuple[Weight, ...]
    reused: frozenset[str]
    digests: dict[str, bytes]
    note: Note | None = None

    @property
    def changed(self) -> bool:
        """True if some layer is to be analysed."""
        return len(self.reused) < len(self.weights)


@dataclass(frozen=True)
class CopiedState:
    """One state of a model, divided among the ranks and copied, in case no later one comes.

    Attributes:
        weights: all layers in module order; only those of `own` can be read.
        own: layer names of this rank.
        note: what the user should know of its checkpoint.
    """

    weights: tuple[Weight, ...]
    own: frozenset[str]
    note: Note | None = None


class Measurer:
    """Analyses one state after the other of the same model.

    All ranks call `take` and `analyze` in the same order; whatever fails on one of them fails on all.

    Args:
        options: what to compute.
        ranks: that share the work.
        threads: of this rank.
        max_seconds: time budget of one state.
        reuse_bytes: memory for what states leave to later ones (`EarlierStates`).
        baseline: adds the updates to the weights.

    Attributes:
        baseline: as given.
    """

    def __init__(
        self,
        options: AnalysisOptions,
        ranks: Ranks,
        *,
        threads: int | None = None,
        max_seconds: float | None = None,
        reuse_bytes: int = 0,
        baseline: Baseline | None = None,
    ) -> None:
        self._earlier = EarlierStates(reuse_bytes)
        self._notes: tuple[str, ...] = ()
        self.baseline, self._prepared = baseline, False
        self._options, self._ranks, self._max_seconds = options, ranks, max_seconds
        here = ranks.gather(socket.gethostname()).count(socket.gethostname())
        # torchrun says how many ranks share this machine, other launchers do not.
        self._threads = threads or max(1, cpu_threads() * local_ranks() // here)
        self._rows: dict[str, tuple[Row, ...]] = {}  # of the last analysis of each layer
        self._digests: dict[str, bytes] = {}  # of the bits that they belong to, as far as this rank looked
        self._waiting: dict[str, int] = {}  # how often a layer was left out in a row

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the newest rows has to know about the choice of weights."""
        return self._notes + (self.baseline.notes if self.baseline is not None else ())

    def recall(self, other: "Measurer") -> None:
        """Know the rows that another measurer with the same options has analysed, for as long as their bits hold."""
        self._rows, self._digests = dict(other._rows), dict(other._digests)
        self._earlier = other._earlier

    def take(
        self, find: Callable[[], Inventory], *, copy: bool, step: int = 0, saved: Saved | None = None
    ) -> PendingState:
        """See which weights have changed, divide them among the ranks, and gather or copy what must be. Collective.

        Args:
            find: lists the weights; called on every rank.
            copy: copy to the CPU, so that training can continue before they are analysed.
            step: of the state.
            saved: a checkpoint of this state, whose weights count where they are others.

        Raises:
            MonitorError: there are none.
            PeerError: ranks hold different layers.
        """
        state = compared(self._list(find), saved, self._ranks, self._options)
        return self._pending(state, lambda todo: self._own(todo, state.of_first), copy=copy, step=step)

    def copy(self, find: Callable[[], Inventory], saved: Saved | None = None) -> CopiedState:
        """Copy a state that may have to be analysed later; nothing is compared with earlier ones yet. Collective.

        Each rank copies its share. Raises what `take` raises.
        """
        state = compared(self._list(find), saved, self._ranks, self._options)
        own = self._own(state.weights, state.of_first)
        copies = {weight.layer_name: weight for weight in gathered(state.weights, own, copy=True)}
        held = tuple(copies.get(w.layer_name, replace(w, rows=_elsewhere, sharded=None)) for w in state.weights)
        return CopiedState(held, frozenset(own), state.note)

    def take_copied(self, state: CopiedState) -> PendingState:
        """Like `take`, for a state that was copied. Collective."""
        return self._pending(Compared(list(state.weights)), lambda todo: state.own, copy=False, step=0)

    def analyze(self, pending: PendingState, ranks: Ranks, *, stop: Callable[[], bool] = lambda: False) -> Table:
        """Analyse a pending state and return its table, the same on every rank. Collective in `ranks`.

        Args:
            pending: made by `take`.
            ranks: the group that results are exchanged in; a separate one where this runs beside training.
            stop: gives up early once True.
        """
        begun = time.monotonic()

        def late() -> bool:
            return stop() or self._max_seconds is not None and time.monotonic() - begun > self._max_seconds

        def work() -> list[Result]:
            # Layers left out before come first, so that a budget too small for all still reaches each layer in turn.
            turns = groupby(sorted(pending.mine, key=self._turn), key=self._turn)
            parallelism = choose_parallelism(pending.mine, threads=self._threads, device=self._options.device)
            self._earlier.admit(pending.mine, self._options.estimator, free=available_memory() * _FREE_SHARE)
            analyzed = partial(analyze_weights, stop=late, earlier=self._earlier)
            return [r for _, turn in turns for r in analyzed(list(turn), self._options, parallelism)]

        found = {result.layer_name: result.rows for results in ranks.agree(work) for result in results}
        rows = [row for weight in pending.weights for row in self._rows_of(weight, pending, found)]
        return Table.from_rows(rows, self._options.precisions)

    def checkpoint_note(self, find: Callable[[], Inventory], saved: Saved) -> Note | None:
        """Return what the user should know of a checkpoint that gets no rows, the same on every rank. Collective."""
        note: Note | None = self._ranks.from_first(compared(self._list(find), saved, self._ranks, self._options).note)
        return note

    def is_replaced(self, find: Callable[[], Inventory]) -> bool:
        """Return True if a layer is seen to have other bits than those that were analysed. Collective."""
        known = self._digests
        state = Compared(self._list(find))
        rows = {weight.layer_name: (weight.layer_name,) for weight in state.weights}
        _, changed = self._changed(state, rows, lambda name, seen: known.get(name, seen) == seen)
        return bool(changed)

    def _list(self, find: Callable[[], Inventory]) -> list[Weight]:
        """Return the weights, which must be there and the same on all ranks. Collective."""
        weights: list[Weight] = []

        def look() -> list[tuple[str, int, int]]:
            _finish_device_work()
            inventory = find()
            weights.extend(inventory.weights)
            self._notes = inventory.notes
            return [(w.layer_name, w.out_features, w.in_features) for w in weights]

        signatures = self._ranks.agree(look)
        if not weights:
            raise MonitorError(
                "the model: expected at least one weight matrix to analyse, found none with "
                f"include={self._options.include!r}, exclude={self._options.exclude!r}. "
                "Check these, and that the layers exist when training starts."
            )
        odd = next((rank for rank, names in enumerate(signatures) if names != signatures[0]), None)
        if odd is not None:
            raise PeerError(
                f"rank {odd}: expected the same layers as rank 0, got others (pipeline parallelism?). "
                "Scan the saved checkpoint instead: alpha-hill scan."
            )
        return weights

    def _own(self, weights: Sequence[Weight], of_first: Collection[str]) -> set[str]:
        """Return the layer names of this rank's share; those that only the first rank can read are in its share."""
        shared = [weight for weight in weights if weight.layer_name not in of_first]
        own = {weight.layer_name for weight in share(shared, self._ranks.rank, self._ranks.size)}
        return own if self._ranks.rank else own.union(of_first)

    def _pending(
        self, state: Compared, own: Callable[[Sequence[Weight]], Collection[str]], *, copy: bool, step: int
    ) -> PendingState:
        weights: Sequence[Weight] = state.weights
        rows = self._rows_by_weight(weights)
        digests, changed = self._changed(state, rows, self._holds)
        todo = [w for w in weights if w.layer_name in changed]
        mine = gathered(todo, own(todo), copy=copy)
        reused = frozenset(name for w in weights if w.layer_name not in changed for name in rows[w.layer_name])
        digests = {name: digest for weight, digest in digests.items() for name in rows[weight]}
        if self.baseline is not None:
            if not self._prepared:  # all layers count as changed, so that all are divided among the ranks
                self.baseline.prepare(weights, mine, step, self._ranks)
                self._prepared = True
            mine, weights = (self.baseline.beside(each, rows) for each in (mine, weights))
        return PendingState(tuple(weights), tuple(mine), reused, digests, state.note)

    def _rows_by_weight(self, weights: Sequence[Weight]) -> dict[str, tuple[str, ...]]:
        """Return layer name -> names of its rows: itself, and with a baseline its update."""
        names = {weight.layer_name for weight in weights}
        if self.baseline is None:
            return {name: (name,) for name in names}
        return {weight.layer_name: self.baseline.names(weight, names) for weight in weights}

    def _changed(
        self, state: Compared, rows: Mapping[str, tuple[str, ...]], holds: Callable[[str, bytes | None], bool]
    ) -> tuple[dict[str, bytes], set[str]]:
        """Return the digests that this rank took, and the layers whose rows do not hold on some rank. Collective.

        Of a weight that every rank holds whole one rank looks at it; of a sharded one each looks at its part.
        """
        own = self._own([w for w in state.weights if w.sharded is None], state.of_first)
        looked = [w for w in state.weights if w.sharded is not None or w.layer_name in own]
        digests = digests_of(looked)

        def news() -> set[str]:
            seen = {w.layer_name: digests.get(w.layer_name) for w in looked}
            return {name for name, digest in seen.items() if not all(holds(row, digest) for row in rows[name])}

        return digests, set().union(*self._ranks.agree(news))

    def _holds(self, name: str, seen: bytes | None) -> bool:
        return seen is not None and name in self._rows and self._digests.get(name) == seen

    def _turn(self, weight: Weight) -> int:
        return -self._waiting.get(weight.layer_name, 0)

    def _rows_of(self, weight: Weight, pending: PendingState, found: dict[str, tuple[Row, ...]]) -> tuple[Row, ...]:
        """Return the rows of one layer, and remember them for as long as its bits do not change."""
        name = weight.layer_name
        if name in pending.reused:
            return self._rows[name]
        self._digests.pop(name, None)
        if name not in found:
            self._waiting[name] = self._waiting.get(name, 0) + 1
            reason = f"left out: max_seconds={self._max_seconds} were used up. It comes first next time"
            return rows_without_alpha(weight, self._options, "skipped", reason)
        self._waiting.pop(name, None)
        self._rows[name] = found[name]
        if name in pending.digests and all(row.status != "failed" for row in found[name]):
            self._digests[name] = pending.digests[name]
        return found[name]


def _elsewhere(start: int, stop: int) -> Tensor:
    raise AssertionError("another rank holds the copy of this weight")


def _finish_device_work() -> None:
    """Wait for the kernels of the training thread: weights are read in other threads, on other streams."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.current_stream().synchronize()
