"""What a plan does to the predictions of a model: KL divergence and perplexity, beside uniform and random plans."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.applied_plan import Applied
from alpha_callbacks.evaluation.random_plans import random_plans
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.utils.machine import available_memory
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

Progress = Callable[[int, int, str], None]
Load = Callable[[], nn.Module]  # a model to judge as it is; only one at a time is kept

BASE, PLAN = "base", "plan"
WRITTEN = "checkpoint "  # what the names of checkpoints that were written begin with
_FP64_ELEMENTS = 2**22  # log-probabilities formed at a time: 32 MiB


@dataclass(frozen=True)
class Score:
    """How a model predicts a text under one plan.

    Attributes:
        name: "base" (weights as loaded), "plan", "uniform <format>", "random <number>", "checkpoint <name>".
        average_bits: mean effective bits of the layers that the plan decides about; of the base those of its dtype; nan
            of a checkpoint.
        kl: mean KL(base || this) of next-token distributions, nats per token; 0 for the base.
        kl_sem: standard error of that mean, as if tokens were independent.
        perplexity: exp of the mean loss per token.
        seconds: taken.
        top1: share of tokens whose most likely successor is that of the base.
        kl_q99: KL that 99 % of the tokens do not exceed.
        kl_q999: KL that 99.9 % of them do not exceed; of fewer than 1,000 tokens the largest.
        kl_of_tokens: KL of each predicted token, in the order of the text, shape (tokens,).
    """

    name: str
    average_bits: float
    kl: float
    kl_sem: float
    perplexity: float
    seconds: float
    top1: float = math.nan
    kl_q99: float = math.nan
    kl_q999: float = math.nan
    kl_of_tokens: Tensor = field(default_factory=lambda: torch.empty(0), repr=False, compare=False)


def evaluate(
    model: nn.Module,
    plan: Plan | Mapping[str, Plan],
    windows: Tensor,
    *,
    random: int = 0,
    seed: int = 0,
    written: Mapping[str, Load] | None = None,
    on_progress: Progress | None = None,
) -> list[Score]:
    """Score a plan beside the base, each of its low-bit formats alone, and random plans at the same effective bits.

    Weights are rounded in place and restored bit for bit, also after an error or Ctrl-C.

    Args:
        model: a causal language model in eval mode that returns `.logits` (transformers).
        plan: what to judge; several by their names, such as that of one budget each; none ({}) beside `written`.
        windows: token ids, shape (windows, length), see `LanguageModel.windows`.
        random: how many random plans for each plan, see `random_plans`.
        seed: of these.
        written: name -> loads a model to judge beside the plans, such as a checkpoint made by `quantize`.
        on_progress: called with (windows done, windows in all, name of the plan).

    Returns:
        Base first, then uniform plans from coarse to fine, the plans, the random plans ("random 1", of several plans
        "random 1 for <name>"), and what was written ("checkpoint <name>"). Where no random plan can be dealt at a
        plan's bits, they are left out with a warning.

    Raises:
        PlanError: a plan does not belong to the model, plans have different layers, or one has the name of another row.
    """
    plans = {PLAN: plan} if isinstance(plan, Plan) else dict(plan)
    for name in plans:
        if name == BASE or name.startswith(("uniform ", "random ", WRITTEN)):  # rows that it is compared with
            raise PlanError(f"{name}: expected another name of a plan: rows that it is compared with have such.")
    _require_same_layers(plans)
    uniform = {name: each for one in plans.values() for name, each in uniform_plans(one).items()}
    dealt: dict[str, Plan] = {}
    for name, one in plans.items():
        try:
            others = random_plans(one, random, seed=seed)
        except PlanError as error:  # a plan of few layers: the rest is worth having
            _log.warning("%s", error)
            continue
        of = f" for {name}" if len(plans) > 1 else ""
        dealt.update({f"random {i}{of}": other for i, other in enumerate(others, 1)})
    coarse_first = dict(sorted(uniform.items(), key=lambda entry: (entry[1].average_bits(), entry[0])))
    loads = {f"{WRITTEN}{name}": load for name, load in (written or {}).items()}
    return compare(model, {**coarse_first, **plans, **dealt}, windows, written=loads, on_progress=on_progress)


def _require_same_layers(plans: Mapping[str, Plan]) -> None:
    """Refuse plans of several models: they would be scored with layers of the others as found."""
    layers = {name: {choice.layer_name for choice in plan.choices} for name, plan in plans.items()}
    for name, found in layers.items():
        first, expected = next(iter(layers.items()))
        if found != expected:
            odd = min(found ^ expected)
            raise PlanError(
                f"{name}: expected the layers of {first}, {odd} is in one of them only. Evaluate plans of one scan "
                "together."
            )


def uniform_plans(plan: Plan) -> dict[str, Plan]:
    """Return "uniform <format>" -> the plan with this format for every layer that it decides about, coarse to fine.

    One for each low-bit format that the plan has; layers that the format cannot store stay as planned.
    """
    names = {choice.format.name for choice in plan.choices if choice.budgeted and choice.low_bit}
    found = {f"uniform {name}": _uniform(plan, name) for name in names}
    return dict(sorted(found.items(), key=lambda entry: (entry[1].average_bits(), entry[0])))


def _uniform(plan: Plan, name: str) -> Plan:
    precision = get_precision(name)
    choices = (
        replace(choice, precision=name, reason="") if choice.budgeted and precision.fits(choice.in_features) else choice
        for choice in plan.choices
    )
    return Plan(tuple(choices), "uniform", {}, plan.model)


@torch.no_grad()
def compare(
    model: nn.Module,
    plans: Mapping[str, Plan],
    windows: Tensor,
    *,
    written: Mapping[str, Load] | None = None,
    on_progress: Progress | None = None,
) -> list[Score]:
    """Score any plans of the same layers, and other models of the same tokens, against the base.

    As many windows are taken at a time as the base's logits fit into a quarter of the free memory; each plan is then
    applied, and each other model loaded, once for all of them. Sums are in fp64.

    Args:
        model: see `evaluate`.
        plans: name -> plan.
        windows: token ids, shape (windows, length).
        written: name -> loads another model.
        on_progress: called with (windows done, windows in all, name of the plan).

    Returns:
        The base, then one score per plan, in their order, then one per model.

    Raises:
        PlanError: nothing to compare, fewer than two tokens to predict, a plan that does not belong to the model, or
            predictions that are no numbers.
    """
    written = written or {}
    if not plans and not written:
        raise PlanError("plans: expected at least one plan to compare with the base, got none.")
    if (predicted := len(windows) * (windows.shape[1] - 1)) < 2:  # one has no standard error
        raise PlanError(f"windows: expected at least 2 tokens to predict, got {predicted}. Ask for more --tokens.")
    tallies = {name: _Tally() for name in (BASE, *plans, *written)}
    done, total = 0, len(tallies) * len(windows)

    def judge(name: str, judged: nn.Module, chunk: Tensor, base: list[Tensor]) -> None:
        nonlocal done
        tally, started = tallies[name], time.perf_counter()
        for i, window in enumerate(chunk):
            logits = _logits(judged, window)
            if name == BASE:
                base.append(logits.cpu())
            if not tally.add(base[i], logits, window):
                raise PlanError(_no_numbers(name, logits))
            done += 1
            if on_progress is not None:
                on_progress(done, total, name)
        tally.seconds += time.perf_counter() - started

    applied = Applied(model, next(iter(plans.values()))) if plans else None
    for chunk in windows.split(_windows_at_a_time(model, windows)):
        base: list[Tensor] = []
        judge(BASE, model, chunk, base)
        for name, load in written.items():  # before the plans: one that cannot be loaded is told soon
            judge(name, load(), chunk, base)
        if applied is not None:
            with applied:
                for name, plan in plans.items():
                    applied.use(plan)
                    judge(name, model, chunk, base)
    bits = torch.finfo(next(model.parameters()).dtype).bits
    averages = {BASE: float(bits), **{name: plan.average_bits() for name, plan in plans.items()}}
    return [tally.score(name, averages.get(name, math.nan)) for name, tally in tallies.items()]


class _Tally:
    """Values per token, as Python floats: small tensors between large ones that come and go would tear up the heap."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._kl: list[float] = []
        self._same = 0
        self._loss: list[float] = []

    def add(self, base: Tensor, logits: Tensor, window: Tensor) -> bool:
        """Add the predictions of one window, given logits of shape (length, vocabulary); False: some are no numbers."""
        following = window[1:].to(logits.device)
        rows = max(1, _FP64_ELEMENTS // logits.shape[-1])
        for p, q, token in zip(
            base[:-1].split(rows), logits[:-1].split(rows), following.split(rows), strict=True
        ):  # the last position predicts a token that is not there
            ours = q.double().log_softmax(-1)
            theirs = p.to(q.device).double().log_softmax(-1)
            self._same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            kl = (theirs.exp() * (theirs - ours)).sum(-1)
            if not torch.isfinite(kl).all():
                return False
            self._kl += kl.tolist()
            self._loss += (-ours.gather(-1, token[:, None])[:, 0]).tolist()
        return True

    def score(self, name: str, average_bits: float) -> Score:
        kl, loss = (torch.tensor(values, dtype=torch.float64) for values in (self._kl, self._loss))
        sem = float(kl.std()) / math.sqrt(len(kl))
        q99, q999 = (float(kl.quantile(share, interpolation="higher")) for share in (0.99, 0.999))
        return Score(
            name, average_bits, float(kl.mean()), sem, float(loss.mean().exp()), self.seconds,
            self._same / len(kl), q99, q999, kl,
        )  # fmt: skip


def _no_numbers(name: str, logits: Tensor) -> str:
    dtype = str(logits.dtype).removeprefix("torch.")
    wider = "" if logits.dtype in (torch.float32, torch.float64) else f", or numbers beyond {dtype}: try --dtype fp32"
    return f"expected predictions of {name}, got nan or inf. The weights are damaged{wider}."


def _logits(model: nn.Module, window: Tensor) -> Tensor:
    device = next(model.parameters()).device
    logits: Any = model(input_ids=window[None].to(device), use_cache=False).logits
    assert isinstance(logits, Tensor)
    return logits[0]


def _windows_at_a_time(model: nn.Module, windows: Tensor) -> int:
    config: Any = model.config
    vocabulary = int(config.get_text_config().vocab_size)
    one = windows.shape[1] * vocabulary * next(model.parameters()).dtype.itemsize
    return max(1, available_memory() // 4 // one)
