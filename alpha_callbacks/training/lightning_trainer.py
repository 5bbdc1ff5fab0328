"""What a Lightning trainer does not say in one call: where its run writes, what was saved, whose turn comes last."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_callbacks.training.lightning_base import Callback

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class LastInLine(Callback):
    """Stands at the end of the trainer's list, after those that save, for the one hook that is under way."""

    def __init__(self, trainer: "Trainer", task: Callable[[], None]) -> None:
        self._trainer, self._task = trainer, task
        trainer.callbacks.append(self)  # type: ignore[attr-defined]

    def _go(self, *args: object) -> None:
        self._trainer.callbacks.remove(self)  # type: ignore[attr-defined]
        self._task()

    on_train_batch_end = on_train_end = on_exception = _go  # type: ignore[assignment]


def is_saved_on_exception(trainer: "Trainer") -> bool:
    """Return True if a checkpoint callback saves when the run is broken off."""
    return any(
        type(c).on_exception.__qualname__ != "Callback.on_exception" and getattr(c, "save_on_exception", True)
        for c in trainer.checkpoint_callbacks
    )


def log_folder(trainer: "Trainer") -> str:
    """Return the folder of this run alone, as ModelCheckpoint chooses it. Collective.

    A logger without a folder per run (`WandbLogger`) has its `save_dir` in common with all runs; its name and version
    make the difference.
    """
    folder = trainer.log_dir or trainer.default_root_dir
    logger = trainer.loggers[0] if trainer.loggers else None
    if logger is not None and not isinstance(getattr(logger, "log_dir", None), str):
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = str(Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version)
    return trainer.strategy.broadcast(folder)


def last_saves(trainer: "Trainer") -> list[tuple[str, int]]:
    """Return (path, step) of the last save of each checkpoint callback, as far as it tells."""
    return [
        (str(getattr(c, "_last_checkpoint_saved", "")), int(getattr(c, "_last_global_step_saved", 0)))
        for c in trainer.checkpoint_callbacks
    ]
