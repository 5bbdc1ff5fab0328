"""Layer-wise control in a run of Hugging Face's Trainer."""

from typing import TYPE_CHECKING, Any

from alpha_callbacks.control.control_callback import ControlCallback
from alpha_callbacks.errors import MissingExtraError
from alpha_callbacks.training.hf_callback import reporters_of_caller
from alpha_callbacks.training.hf_reporters import other_reporters

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtraError("AlphaControlTrainerCallback", "hf") from error

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class AlphaControlTrainerCallback(ControlCallback, TrainerCallback):
    """Sets learning rates or weight decays per layer from alpha in a Trainer run. Experimental: see docs/control.md.

    Every layer needs a parameter group of its own, so split the Trainer's optimizer before `train`:

        trainer.create_optimizer()
        split_per_layer(trainer.model, trainer.optimizer)

    What is decided is saved with the optimizer's state, so a run that is resumed continues bit for bit.

    Options: see `ControlCallback` and `LayerwiseControl`.

    Raises:
        OptionError: an option that cannot be used; when training starts, an optimizer that cannot be controlled.
        MissingExtraError: transformers is not installed.
    """

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Take the optimizer under control (in a resumed run, after its state is restored)."""
        reporters = reporters_of_caller()
        self._begin(
            kwargs["model"],
            kwargs["optimizer"],
            state.global_step,
            total_steps=state.max_steps,
            beside=args.output_dir or ".",
            offers=(*reporters, *other_reporters(reporters, args, state, control, kwargs["model"])),
            step_key="train/global_step",
        )

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Decide if that is due."""
        self._update(state.global_step)

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **kwargs: Any
    ) -> None:
        """Let go of the optimizer."""
        self._end()
