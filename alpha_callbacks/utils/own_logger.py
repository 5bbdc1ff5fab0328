"""Loggers of this package: names and paths in their records are shown as `visible` text."""

import logging
from pathlib import Path

from alpha_callbacks.foreign_text import visible


def own_logger(name: str) -> logging.Logger:
    """Return the logger of a module; texts, paths and errors among the arguments of a record become visible text."""
    log = logging.getLogger(name)
    log.addFilter(_show)
    return log


def _show(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        shown = (visible(str(each)) if isinstance(each, str | Path | BaseException) else each for each in record.args)
        record.args = tuple(shown)
    return True
