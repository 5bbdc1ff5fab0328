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
    """Send log records of this level and above to stderr."""
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
