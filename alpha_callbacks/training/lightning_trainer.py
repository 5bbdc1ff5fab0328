"""What a Lightning trainer does not say in one call: where its run writes, what was saved, whose turn comes last."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from alpha_callbacks.training.lightning_base import Callback

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class LastInLine(Callback):
    """Stands at the end of the trainer's list, after those that save, and does what others have left for it.

    It stays there to the end of the run: to take an entry out of a list while the trainer goes through it would skip
    the next one, but for the last.
    """

    def __init__(self) -> None:
        self.tasks: list[tuple[str, Callable[[], None]]] = []  # with the hook that each belongs to

    def on_train_batch_end(self, *args: object) -> None:
        """Do the tasks of this hook."""
        self._go("on_train_batch_end")

    def on_train_end(self, trainer: "Trainer", *args: object) -> None:
        """Do the tasks of this hook, and leave."""
        self._go("on_train_end")
        self._leave(trainer)

    def on_exception(self, trainer: "Trainer", *args: object) -> None:
        """Do the tasks of this hook, not those of a hook that the exception broke off, and leave."""
        self._go("on_exception")
        self._leave(trainer)

    def _leave(self, trainer: "Trainer") -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if callbacks[-1] is self:
            callbacks.pop()

    def _go(self, hook: str) -> None:
        tasks, self.tasks = self.tasks, []
        for of, task in tasks:
            if of == hook:
                task()


def after_the_others(trainer: "Trainer", hook: str, task: Callable[[], None]) -> None:
    """Do a task when every callback has had the hook that is under way."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if not isinstance(callbacks[-1], LastInLine):
        callbacks.append(LastInLine())
    last = callbacks[-1]
    assert isinstance(last, LastInLine)
    last.tasks.append((hook, task))


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
