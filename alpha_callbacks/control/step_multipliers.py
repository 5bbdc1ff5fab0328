"""Multipliers of a setting of parameter groups, in force while the optimizer steps and at no other time.

Schedulers, loggers and checkpoints therefore see the settings as if nobody multiplied them: whatever a scheduler
computes, from its own base values or from the last one, is multiplied once. What is multiplied by is kept in the groups
themselves, under a key of their own, so that it is saved and restored with the optimizer by every framework.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer, Rprop

from alpha_callbacks.control.parameter_groups import STATES, Group, undecided
from alpha_callbacks.control.rules import Rule, ramped
from alpha_callbacks.errors import OptionError
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)
_IN_USE: "WeakKeyDictionary[Optimizer, set[str]]" = WeakKeyDictionary()


class StepMultipliers:
    """Multiplies `lr` or `weight_decay` of the groups of one optimizer during each of its steps.

    Args:
        optimizer: torch's own, not a wrapper.
        rule: says what is multiplied, and in how many steps a new multiplier is reached.
        layers: layer name of each group; None for a group that is left alone.

    Attributes:
        step: number of optimizer steps made so far, as the training counts them; set by the owner.
        used: how often the optimizer has stepped under this control.

    Raises:
        OptionError: the groups have no such setting, or another control multiplies it.
    """

    def __init__(self, optimizer: Optimizer, rule: Rule, layers: Sequence[str | None]) -> None:
        self.step, self.used = 0, 0
        self._optimizer, self._setting, self._layers, self._ramp = optimizer, rule.sets, list(layers), rule.ramp
        self._key = STATES[rule.sets]
        self._label = f"{rule.name} {rule.low:g} to {rule.high:g}"
        self._shown: list[tuple[Group, Any]] = []  # groups whose setting is multiplied now, with their own value
        self._check()
        for _, group in self._controlled():  # where they were not split by us
            group.setdefault(self._key, undecided())
        _IN_USE.setdefault(optimizer, set()).add(self._setting)
        self._hooks = [
            optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: self._multiply()),
            optimizer.register_step_post_hook(lambda optimizer, args, kwargs: self.restore()),
            # After an error within a step, which no hook is told of, what is saved must not be multiplied for good.
            optimizer.register_state_dict_pre_hook(lambda optimizer: self.restore()),
        ]

    @property
    def decided(self) -> int:
        """Step of the last decision by this rule in the groups, which may come from a checkpoint; -1 before one."""
        states = [group[self._key] for _, group in self._controlled() if self._key in group]
        return max((state["step"] for state in states if state["rule"] == self._label), default=-1)

    @property
    def values(self) -> dict[str, Any]:
        """Layer name -> the setting as the scheduler left it, of the first group of the layer."""
        return {name: group[self._setting] for name, group in reversed(self._controlled())}

    def multipliers(self, done: int) -> dict[str, float]:
        """Return layer name -> multiplier of the optimizer step number `done`, from 1."""
        return {name: self._multiplier(group, done) for name, group in self._controlled()}

    def decide(self, targets: Mapping[str, float], step: int) -> None:
        """Head for new multipliers, from those of the step that was made last.

        Args:
            targets: by layer name.
            step: number of steps made so far.
        """
        for name, group in self._controlled():
            start = self._multiplier(group, step)
            group[self._key] = {"rule": self._label, "step": step, "start": start, "target": targets[name]}

    def restore(self) -> None:
        """Give the groups their own values back: after each step, and after one that an error broke off."""
        while self._shown:
            group, value = self._shown.pop()
            group[self._setting] = value

    def close(self) -> None:
        """Multiply no longer. What was decided stays in the groups, and in what is saved of them."""
        self.restore()
        for hook in self._hooks:
            hook.remove()
        _IN_USE.get(self._optimizer, set()).discard(self._setting)

    def _multiply(self) -> None:
        self.restore()
        self.used += 1
        for _, group in self._controlled():
            value = group[self._setting]
            self._shown.append((group, value))
            group[self._setting] = value * self._multiplier(group, self.step + 1)  # not in place: groups share tensors

    def _multiplier(self, group: Group, done: int) -> float:
        state = group.get(self._key)
        if state is None:
            return 1.0
        return ramped(state["start"], state["target"], done=done - state["step"], ramp=self._ramp)

    def _controlled(self) -> list[tuple[str, Group]]:
        """Return (layer name, group); the groups are looked up each time, for loading a state replaces them."""
        groups = self._optimizer.param_groups
        added = len(groups) - len(self._layers)
        if added < 0:
            raise OptionError(f"optimizer: expected its {len(self._layers)} parameter groups, got {len(groups)}.")
        if added:
            _log.warning("alpha-Hill: %d parameter groups were added to the optimizer and are left as they are.", added)
            self._layers += [None] * added
        return [(name, group) for name, group in zip(self._layers, groups, strict=True) if name is not None]

    def _check(self) -> None:
        values = [group.get(self._setting) for _, group in self._controlled()]
        if any(value is None for value in values):
            raise OptionError(f"optimizer: expected groups with a value of {self._setting}, got one without.")
        if self._setting == "lr" and isinstance(self._optimizer, Rprop):
            raise OptionError("optimizer: expected one that uses lr in every step, got Rprop, which adapts its own.")
        if values and self._setting == "weight_decay" and not any(values):
            raise OptionError("optimizer: expected a weight_decay above 0 to control, got 0 in every group of a layer.")
        if self._setting in _IN_USE.get(self._optimizer, set()):
            raise OptionError(f"optimizer: expected one control of {self._setting}, got a second. Close the first.")
