"""Layer-wise control of an optimizer from alpha, whatever runs the loop. Experimental: see docs/control.md."""

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from torch import nn

from alpha_callbacks.analysis.processes import training_ranks
from alpha_callbacks.control.parameter_groups import bare_optimizer, check_model, layers_of_groups
from alpha_callbacks.control.rules import MeasuredLayer, Rule, get_rule, layer_multipliers
from alpha_callbacks.control.step_multipliers import StepMultipliers
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Table
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.training.measurer import Measurer
from alpha_callbacks.training.monitor_checks import checked_step
from alpha_callbacks.training.schedule import Schedule
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.trained_layers import TrainedLayer, trained_layers

# As the code of all three papers: half of the eigenvalues, the smallest of them as threshold; weights as stored.
AS_PUBLISHED = AnalysisOptions(
    precisions=("fp64",), k_frac=0.5, k_min=1, threshold="last", solver="fast", adapters="base"
)
_PATIENCE = 100  # optimizer steps of the training without one that the hooks saw


@dataclass(frozen=True)
class Decision:
    """What was decided at one moment of a training run.

    Attributes:
        step: number of optimizer steps so far.
        rule: by which it was.
        layers: what the rule saw, in module order.
        multipliers: layer name -> what is headed for.
        values: layer name -> the setting that is multiplied, as it was at that moment.
        seconds: wall time of the decision.
    """

    step: int
    rule: Rule
    layers: tuple[MeasuredLayer, ...]
    multipliers: dict[str, float]
    values: dict[str, float]
    seconds: float


class LayerwiseControl(AbstractContextManager["LayerwiseControl"]):
    """Sets learning rates or weight decays per layer from alpha; the core of both callbacks. Experimental.

    Every layer needs a parameter group of its own (`split_per_layer`). A multiplier is in force only while the
    optimizer steps, so that schedulers, loggers and checkpoints see the values they know. What is decided is kept in
    the parameter groups (`alpha_lr`, `alpha_weight_decay`) and so comes back with the optimizer's state: a run that is
    resumed continues bit for bit. In a distributed run every rank makes one and calls it; all decide the same.

    Args:
        model: any module, wrapped (DDP, FSDP2, torch.compile) or not.
        optimizers: all that train it: one, or a list (as with Muon beside AdamW).
        rule: "tempbalance", "llr" (learning rates) or "alphadecay" (weight decays); or a `Rule`.
        total_steps: optimizer steps of the whole training; needed by rules that stop to decide before its end (llr).
        options: what alpha is computed from, and which layers take part (`include`, `exclude`); default
            `AS_PUBLISHED`: the larger half of the eigenvalues, by the fast solver. One precision.
        threads: number of CPU threads.
        constants: of the rule, to be changed: every, ramp, low, high, until, min_eigs (see `Rule`).

    Attributes:
        rule: with the constants that are used.
        last: the newest decision made here; None before the first.

    Raises:
        OptionError: an option that cannot be used; a group that holds several layers; an optimizer that hides its
            groups (DeepSpeed); a model whose layers are not trained one by one (FSDP1).
        PeerError: not all ranks made one, or with other options.

    Examples:
        >>> import torch
        >>> from alpha_callbacks.control.parameter_groups import split_per_layer
        >>> model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
        >>> optimizer = split_per_layer(model, torch.optim.AdamW(model.parameters()))
        >>> with LayerwiseControl(model, optimizer, "tempbalance", every=10) as control:
        ...     decision = control.update(0)
        >>> sorted(set(decision.multipliers.values()))
        [0.5, 1.0, 1.5]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Any,
        rule: str | Rule = "llr",
        *,
        total_steps: int | None = None,
        options: AnalysisOptions | None = None,
        threads: int | None = None,
        **constants: float | None,
    ) -> None:
        self.rule, self._options = get_rule(rule, **constants), checked_options(options)
        self.last: Decision | None = None
        self._last_step = _last_step(self.rule, checked_total(total_steps))
        self._first_step: int | None = None
        self._warnings = ErrorPolicy(strict=False)
        check_model(model)
        self._model = model
        self._layers = trained_layers(model)
        bare = [bare_optimizer(one) for one in (optimizers if isinstance(optimizers, Sequence) else [optimizers])]
        groups = layers_of_groups(self._layers, bare)
        if not any(name for names in groups for name in names):
            raise OptionError("model: expected layers that are trained, found none. Adapters (LoRA) have no rule.")
        ranks = training_ranks()
        kind = self._options.device.partition(":")[0]
        facts = vars(self.rule) | vars(self._options) | {"device": kind, "total_steps": total_steps}
        ranks.expect_same(facts, "Give every rank the same options.")
        self._ranks, self._measurer = ranks, Measurer(self._options, ranks, threads=threads)
        self._parts: list[StepMultipliers] = []
        try:
            for optimizer, names in zip(bare, groups, strict=True):
                self._parts.append(StepMultipliers(optimizer, self.rule, names))
        except BaseException:
            self.close()
            raise

    @property
    def multipliers(self) -> dict[str, float]:
        """Layer name -> multiplier of the next optimizer step."""
        return {name: value for part in self._parts for name, value in part.multipliers(part.step + 1).items()}

    def update(self, step: int) -> Decision | None:
        """Say that training has made `step` optimizer steps; decide if that is due. Collective when it is.

        Call it before training (step 0, or that of the checkpoint) and after each optimizer step.

        Args:
            step: number of optimizer steps so far, an integer.

        Returns:
            What was decided, or None.

        Raises:
            OptionError: step is not an integer from 0, or the optimizer has steps that its hooks do not see.
        """
        step = checked_step(step)
        self._expect_hooks(step)
        for part in self._parts:
            part.step = step
        decided = max(part.decided for part in self._parts)
        if decided < 0 < step and self.last is None and self._ranks.rank == 0:
            text = f"{self.rule.name} begins at step {step}: the optimizer's state has no decision of an earlier step"
            self._warnings.warn(text, once="begins")
        again = step < decided  # the same optimizer in another training
        if step > self._last_step or not (decided < 0 or again or Schedule(self.rule.every).crossed(step, decided)):
            return None
        begun = time.perf_counter()
        table = self._measurer.analyze(self._measurer.take(self._inventory, copy=False), self._ranks)
        layers = _measured(self._layers, table)
        targets = layer_multipliers(layers, self.rule)
        self._warn(table, targets)
        values = {name: float(value) for part in self._parts for name, value in part.values.items()}
        for part in self._parts:
            part.decide(targets, step)
        self.last = Decision(step, self.rule, tuple(layers), targets, values, time.perf_counter() - begun)
        return self.last

    def restore(self) -> None:
        """Give the groups their own values back after an optimizer step that an error broke off."""
        for part in self._parts:
            part.restore()

    def close(self) -> None:
        """Let go of the optimizers and of the other ranks; may be called twice."""
        for part in self._parts:
            part.close()
        self._ranks.leave()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _inventory(self) -> Inventory:
        """Return the weights of the layers that are trained."""
        wanted = {name for layer in self._layers for name in layer.matrices}
        found = module_inventory(self._model, self._options)
        return replace(found, weights=[weight for weight in found.weights if weight.layer_name in wanted])

    def _warn(self, table: Table, targets: dict[str, float]) -> None:
        """Say which layer has no alpha, and that nothing is controlled where that is so; each once."""
        if self._ranks.rank != 0:
            return
        lost = next((row for row in table if not row.ok), None)
        if lost is not None:
            text = f"no alpha of {lost.layer_name} ({lost.reason}): its {self.rule.sets} is left as it is"
            self._warnings.warn(text, once=lost.layer_name)
        if set(targets.values()) == {1.0}:
            text = f"{self.rule.name} leaves the {self.rule.sets} of every layer as it is"
            why = f"fewer than two layers with {self.rule.min_eigs} eigenvalues or more and different alphas take part"
            self._warnings.warn(f"{text}: {why}", once=text)

    def _expect_hooks(self, step: int) -> None:
        first = self._first_step = step if self._first_step is None else self._first_step
        if step - first >= _PATIENCE and not any(part.used for part in self._parts):
            raise OptionError(
                f"optimizer: expected its step hooks to be called, got none in {step - first} steps, so nothing was "
                "multiplied. Hand over the optimizer that steps, and do not compile its step."
            )


def checked_options(options: AnalysisOptions | None) -> AnalysisOptions:
    """Return the options, or the published ones.

    Raises:
        OptionError: more than one precision.
    """
    if options is not None and len(options.precisions) != 1:
        raise OptionError(f"options: expected one precision to decide by, got {', '.join(options.precisions)}.")
    return options or AS_PUBLISHED


def checked_total(total_steps: Any) -> int | None:
    """Return the number of optimizer steps of a training, None where it is not known.

    Raises:
        OptionError: not a whole number, or none at all.
    """
    with suppress(OptionError):
        if total_steps is None or checked_step(total_steps) > 0:
            return None if total_steps is None else checked_step(total_steps)
    raise OptionError(f"total_steps: expected a whole number of optimizer steps from 1, got {total_steps!r}.")


def _last_step(rule: Rule, total_steps: int | None) -> float:
    """Return the last step at which a decision may be made."""
    if rule.until == 1:
        return math.inf
    if total_steps is None:
        raise OptionError(
            f"total_steps: expected the number of optimizer steps of the training, for {rule.name} decides in the "
            f"first {rule.until:.0%} of them. Give it, or until=1."
        )
    return rule.until * total_steps


def _measured(layers: Sequence[TrainedLayer], table: Table) -> list[MeasuredLayer]:
    """Return what a rule sees: of a layer with several matrices, their mean alpha."""
    rows = {row.layer_name: row for row in table}
    found = []
    for layer in layers:
        own = [rows[name] for name in layer.matrices if name in rows]
        alphas = [row.alpha for row in own if row.ok]
        alpha = statistics.fmean(alphas) if alphas else math.nan
        found.append(MeasuredLayer(layer.name, layer.category, alpha, min((row.n_eigs for row in own), default=0)))
    return found
