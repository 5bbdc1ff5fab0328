"""Options that several commands share."""

import logging
import sys
from typing import Annotated, Literal

import typer

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option("--log-level", help="How much to say on stderr.", rich_help_panel="Output"),
]


def set_log_level(level: str) -> None:
    """Send our log records of this level and above to stderr; other packages' go where they send them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for name in ("alpha_callbacks", "alpha_integrations"):
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.handlers = [handler]
