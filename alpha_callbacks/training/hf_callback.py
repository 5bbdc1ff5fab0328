"""Alpha-Hill in a run of Hugging Face's Trainer."""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from alpha_callbacks.errors import MissingExtraError
from alpha_callbacks.sinks.snapshot import Event
from alpha_callbacks.training.callers import of_a_caller
from alpha_callbacks.training.hf_reporters import other_reporters
from alpha_callbacks.training.training_callback import TrainingCallback
from alpha_callbacks.utils.own_logger import own_logger

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import CallbackHandler
except ImportError as error:
    raise MissingExtraError("AlphaHillTrainerCallback", "hf") from error

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

_log = own_logger(__name__)


class AlphaHillTrainerCallback(TrainingCallback, TrainerCallback):
    """Computes alpha-Hill at every checkpoint of a Trainer run and logs it to TensorBoard, W&B and CSV.

    The Trainer calls `on_save` when all files of a checkpoint exist. The first and the last state are also measured.
    Results go to the run's own TensorBoard writer and W&B run, the summary values to every other reporter that
    `report_to` names. The callback stores nothing in checkpoints, so a run can be resumed with or without it. Keys are
    listed in docs/keys.md.

    Options: see `CallbackOptions` and docs/training.md.

    Raises:
        OptionError: an option that cannot be used.
        MissingExtraError: transformers is not installed.
    """

    _reporters: tuple[Any, ...] = ()
    _postponed: Event | None = None  # until the checkpoint of the same step is written
    _of_the_run = ("_reporters", "_postponed")

    def attach(self, trainer: "Trainer") -> "AlphaHillTrainerCallback":
        """Name the trainer whose reporters the callback writes through; without this call it finds them itself."""
        self._reporters = tuple(trainer.callback_handler.callbacks)
        return self

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Open the sinks and measure the first state (in a resumed run, the restored one)."""
        reporters = self._reporters or reporters_of_caller()
        self.monitor.open(
            output_dir=self._run_folder(args, state),
            offers=(*reporters, *other_reporters(reporters, args, state, control, kwargs["model"])),
            step_key="train/global_step",
            facts=self._same_everywhere,
        )
        if self.monitor.finds_sinks and not args.report_to and state.is_world_process_zero:
            _log.warning(
                "alpha-Hill: the Trainer reports to nothing; results go to %s only. For charts set "
                'report_to=["tensorboard"].',
                self.monitor.output_dir,
            )
        self._postponed = None
        resumed = _checkpoint_folder(args, state) if state.global_step else None
        restored = resumed if resumed is not None and resumed.is_dir() else None
        self._look(args, state, control, kwargs["model"], "start", restored)

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Measure every n steps; the last state is measured after the saves that end the epoch."""
        due = not control.should_training_stop and self.schedule.crossed(state.global_step, self.monitor.last_due)
        self._when_saved(args, state, control, kwargs["model"], "step" if due else None)
        self.monitor.poll()
        self._stop(control)

    def on_epoch_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Measure each epoch if asked to, and the last state: later, reporters are closed, the best model is back."""
        due: Event | None = "epoch" if self.schedule.every == "epoch" else None
        self._when_saved(args, state, control, kwargs["model"], "end" if control.should_training_stop else due)

    def on_save(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Measure the state that was saved, or was postponed until now, when all callbacks are done with its files."""
        due, self._postponed = self._postponed, None
        if self.schedule.every == "checkpoint":
            due = "checkpoint"
        if control.should_training_stop:  # perhaps only since the evaluation of this step
            due = "end"
        model, folder = kwargs["model"], _checkpoint_folder(args, state)
        if due is not None:
            _after_the_others("on_save", lambda: self._look(args, state, control, model, due, folder))
        else:
            _after_the_others("on_save", lambda: self._tell_saved(model, state.global_step, [folder]))

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Measure the last state if no earlier hook recognised it, close the sinks, see what others leave behind."""
        model, step = kwargs["model"], state.global_step
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best:  # the weights are no longer the last ones
            self._warn_if_replaced(model, step, f"it has those of the best checkpoint, {best}")
        else:
            self._look(args, state, control, model, "end")
        if state.is_world_process_zero:
            self._keep_sensitivities(model, [kwargs.get("optimizer")])
        self._warn_if_nothing_measured()
        self.monitor.finish()  # before another callback ends the run of a logger

        def leave() -> None:
            if not best:
                self._warn_if_replaced(model, step)
            self.monitor.close()

        _after_the_others("on_train_end", leave)

    def _when_saved(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        model: nn.Module,
        due: Event | None,
    ) -> None:
        """Measure now, unless a checkpoint of this state is about to be written: its files come first."""
        if control.should_save:
            self._postponed = due
        elif due is not None:
            self._look(args, state, control, model, due)

    def _run_folder(self, args: "TrainingArguments", state: "TrainerState") -> Path:
        """Return the folder of this run; each trial of a hyperparameter search has its own, numbered from 1."""
        folder = self._folder(args.output_dir or ".")
        if not state.is_hyper_param_search:
            return folder
        trials = (folder / f"trial_{number}" for number in count(1))
        return next(trial for trial in trials if not trial.exists())

    def _look(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        model: nn.Module,
        event: Event,
        checkpoint: Path | None = None,
    ) -> None:
        self._measure_once(model, state.global_step, state.epoch, event, [checkpoint] if checkpoint else [])
        self._stop(control)

    def _stop(self, control: "TrainerControl") -> None:
        """End the run where an alert says so."""
        if self.monitor.should_stop:
            control.should_training_stop = True


def _checkpoint_folder(args: "TrainingArguments", state: "TrainerState") -> Path:
    """Return the folder that was just written; a hyperparameter search adds one level."""
    name, folder = f"checkpoint-{state.global_step}", Path(args.output_dir or ".")
    trials = folder.glob(f"*/{name}") if state.is_hyper_param_search else ()
    return max(trials, key=lambda path: path.stat().st_mtime, default=folder / name)


def reporters_of_caller() -> tuple[Any, ...]:
    """Return the callbacks of the handler on the stack: a callback is not given its trainer (transformers #31338)."""
    handler = of_a_caller(_handler)
    return () if handler is None else tuple(handler.callbacks)


def _handler(local: Mapping[str, Any]) -> CallbackHandler | None:
    found = local.get("self")
    return found if isinstance(found, CallbackHandler) else None


class _Last(TrainerCallback):
    """Stands at the end of the handler's list and does what others have left for it.

    It stays there to the end of the run: to take an entry out of a list while the handler goes through it would skip
    the next one, but for the last.
    """

    def __init__(self, handler: CallbackHandler) -> None:
        self._handler = handler
        self.tasks: list[tuple[str, Callable[[], None]]] = []  # with the hook that each belongs to

    def on_save(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Do the tasks of this hook."""
        self._go("on_save")

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Do the tasks of this hook, not those of a save that an error broke off, and leave."""
        if self._handler.callbacks[-1] is self:
            self._handler.callbacks.pop()
        self._go("on_train_end")

    def _go(self, hook: str) -> None:
        tasks, self.tasks = self.tasks, []
        for of, task in tasks:
            if of == hook:
                task()


def _after_the_others(hook: str, task: Callable[[], None]) -> None:
    """Do a task when every callback has had the hook under way: some put an average over the saved weights, or in."""
    handler = of_a_caller(_handler)
    if handler is None:
        task()
        return
    if not isinstance(handler.callbacks[-1], _Last):
        handler.callbacks.append(_Last(handler))
    last = handler.callbacks[-1]
    assert isinstance(last, _Last)
    last.tasks.append((hook, task))
