"""The command alpha-hill: its commands, and what becomes of errors."""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from alpha_callbacks._version import __version__
from alpha_callbacks.cli.compare_command import compare
from alpha_callbacks.cli.evaluate_command import evaluate
from alpha_callbacks.cli.export_command import export
from alpha_callbacks.cli.help_text import help_of
from alpha_callbacks.cli.history_command import history
from alpha_callbacks.cli.merge_command import merge
from alpha_callbacks.cli.precisions_command import precisions
from alpha_callbacks.cli.quantize_command import quantize
from alpha_callbacks.cli.recommend_command import recommend
from alpha_callbacks.cli.report_command import report
from alpha_callbacks.cli.scan_command import scan
from alpha_callbacks.cli.system_errors import line_of
from alpha_callbacks.cli.terminal import print_in_any_encoding, say
from alpha_callbacks.errors import AlphaCallbacksError, OptionError, PlanError
from alpha_callbacks.foreign_text import visible

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Workflow: scan -> recommend -> evaluate -> quantize": (scan, recommend, evaluate, quantize),
    "Look closer": (report, compare, history),
    "More": (merge, precisions, export),
}
_IN_PYTHON = {"include": "filter_layers", "exclude": "exclude_layers", "formats": "plot_format"}  # -> parameter here
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer does not export it, and may bring its own click


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alpha-hill {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Compute the heavy-tail exponent alpha-Hill of every weight matrix of a network, at several precisions.

    Examples:
        alpha-hill scan tiny_llama -p bf16,int8,int4 -o demo
        alpha-hill recommend demo --avg-bits 5
        python -m pydoc str > heldout.txt
        alpha-hill evaluate tiny_llama --plan demo/plan.json --text heldout.txt
        alpha-hill quantize tiny_llama --plan demo/plan.json -o quantized
    """


def _build() -> typer.Typer:
    """Return the command with everything below it."""
    top = help_of(_root)
    made = typer.Typer(
        name="alpha-hill",
        help=top.text,
        epilog=top.epilog,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback(help=top.text, epilog=top.epilog)(_root)
    for panel, commands in PANELS.items():
        for command in commands:
            shown = help_of(command)
            made.command(help=shown.text, epilog=shown.epilog, rich_help_panel=panel)(command)
    return made


app = _build()


def main() -> None:
    """Run the command. What a user can correct ends with code 2 and one clear line, an internal error with 3."""
    print_in_any_encoding()
    try:
        code = app(prog_name="alpha-hill", standalone_mode=False)
    except _UsageError as error:
        message = _usage_message(error)
    except (AlphaCallbacksError, OSError) as error:
        logging.getLogger(__name__).debug("details", exc_info=True)
        message = _as_typed(error)
    except Exception:
        sys.stderr.write(visible(traceback.format_exc(), keep="\n"))
        _complain("internal error in alpha_callbacks (the traceback is above). Please report it.")
        raise SystemExit(3) from None
    else:
        raise SystemExit(code or 0)
    if message:  # none where help was printed because no command was given
        _complain(message)
    raise SystemExit(2)


def _complain(message: str) -> None:
    say(f"alpha-hill: {message}".replace("\n", " "), color=typer.colors.RED, err=True)


def _usage_message(error: Exception) -> str:
    """Return one line for what the parser refuses: a bad value, a missing one, an unknown option or command."""
    param, context = getattr(error, "param", None), getattr(error, "ctx", None)
    see = f" See `{context.command_path} --help`." if context is not None else ""
    if param is None:
        text = str(error.format_message()) if hasattr(error, "format_message") else str(error)
        return f"{text.rstrip('.')}.{see}" if text else ""
    name = param.opts[0] if param.param_type_name == "option" else param.metavar or param.name
    said = getattr(error, "message", "")
    return f"{name}: {said}" if said else f"{name}: expected a value, got none.{see}"


def _as_typed(error: Exception) -> str:
    """Return the message of an error with the option as it is typed: "include: ..." becomes "--filter-layers: ..."."""
    if isinstance(error, OSError) and not isinstance(error, AlphaCallbacksError):
        return line_of(error)
    if not isinstance(error, OptionError | PlanError):  # others begin with what they are about: a path, a model
        return str(error)
    name, colon, rest = str(error).partition(": ")
    flag = flags().get(_IN_PYTHON.get(name, name))
    return f"{flag}{colon}{rest}" if flag else str(error)


def flags() -> dict[str, str]:
    """Return parameter of a command -> its main option; the same in every command that has it."""
    commands = typer.main.get_group(app).commands.values()
    options = [param for command in commands for param in command.params if param.param_type_name == "option"]
    return {option.name: option.opts[0] for option in options if option.name and option.opts[0].startswith("--")}
