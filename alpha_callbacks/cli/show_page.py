"""The address of a page that a command has written, and the page itself in a browser where that is wanted."""

import webbrowser
from pathlib import Path

import typer

from alpha_callbacks.cli.terminal import say
from alpha_callbacks.errors import OptionError

_TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")  # they take the terminal and draw no chart


def check_open(*, open_page: bool, no_report: bool) -> None:
    """Refuse to open what is not written.

    Raises:
        OptionError: both are asked for.
    """
    if open_page and no_report:
        raise OptionError("--open: expected a report to open, got --no-report. Leave one of them out.")


def show_page(page: Path, *, open_page: bool) -> None:
    """Print the address of a page on a line of its own, which a terminal makes a link of; open it if asked to."""
    address = page.resolve().as_uri()
    say(address)
    if open_page and not _opened(address):
        say("alpha-hill: --open: expected a web browser with windows, found none. Open the address above.",
            color=typer.colors.YELLOW, err=True)  # fmt: skip


def _opened(address: str) -> bool:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return getattr(browser, "basename", "") not in _TEXT_BROWSERS and browser.open(address)
