"""What is typed after an option -> its value. All run before a command does, and fail in one style.

A parser raises `typer.BadParameter("expected ..., got ... .")`; `main` puts the option in front. The rules themselves
are those of the Python API: a parser calls the function or the record that checks them there.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import typer

from alpha_callbacks.errors import OptionError
from alpha_callbacks.utils import plugins

EXAMPLE_MODEL = "tiny_llama"  # what the model that comes with the package is called on the command line
EXPORT_FORMATS = (
    "plan, layer-config, compressed-tensors, torchao, gguf, llm-compressor, bitsandbytes, auto-round, gptqmodel, mlx "
    "or modelopt."
)

_T = TypeVar("_T")


def checked(check: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return a parser from a function of the Python API that raises OptionError."""

    def parse(text: str) -> _T:
        try:
            return check(text)
        except OptionError as error:
            name, _, rest = str(error).partition(": ")  # the name is that of Python, "k_frac: expected ..."
            raise typer.BadParameter(rest if name.isidentifier() else str(error)) from error

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser of a closed choice."""

    def parse(text: str) -> str:
        if text not in choices:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {text!r}.")
        return text

    return parse


def number(text: str) -> float:
    """Return a number; a percentage is none, but what it would be is said."""
    try:
        return float(text)
    except ValueError:
        share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
        meant = f" {text.strip()} is {float(share[1]) / 100:g}." if share else ""
        raise typer.BadParameter(f"expected a number such as 0.1, got {text!r}.{meant}") from None


@cache
def whole(*, at_least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from a smallest one on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d+", str(text)) or int(text) < at_least:
            raise typer.BadParameter(f"expected a whole number of at least {at_least}, got {text}.")
        return int(text)

    return parse


def number_list(text: str) -> str:
    """Check numbers with commas between them, such as budgets; none twice."""
    found = [f"{number(part):g}" for part in text.split(",")]
    if len(set(found)) < len(found):
        raise typer.BadParameter(f"expected each number once, got {text!r}.")
    return ",".join(found)


def numbers(text: str) -> str:
    """Check two numbers with a comma between them, such as bounds."""
    try:
        _, _ = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"expected two numbers such as 2.5,3.0, got {text!r}.") from None
    return text


def step_list(text: str) -> str:
    """Check one step of a training run, or two with a comma between them."""
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)?", text):
        raise typer.BadParameter(f"expected one step, or two such as 1000,20000, got {text!r}.")
    return text


@checked
def precision_list(text: str) -> str:
    """Return canonical names of precisions, comma-separated."""
    from alpha_callbacks.precisions.registry import parse_precisions

    if any(len(name.split()) > 1 for name in text.split(",")):
        raise typer.BadParameter(
            f"expected names separated by commas, got {text!r}. Separate with commas: {','.join(text.split())}."
        )
    return ",".join(parse_precisions(text))


def names(text: str | None) -> tuple[str, ...]:
    """Return the names in a list that `precision_list` has checked; none without a list."""
    return tuple(text.split(",")) if text else ()


def option_names(name: str) -> Callable[[str], str]:
    """Return a parser of names with commas between them, for the option of `AnalysisOptions` with this name."""

    @checked
    def parse(text: str) -> str:
        from alpha_callbacks.options import AnalysisOptions

        given: dict[str, Any] = {name: text}
        return ",".join(getattr(AnalysisOptions(**given), name))

    return parse


@checked
def one_precision(text: str) -> str:
    """Return the canonical name of exactly one precision."""
    if "," in (names := precision_list(text)):
        raise typer.BadParameter(f"expected one precision, got {text!r}.")
    return names


@checked
def torch_precision(text: str) -> str:
    """Return the canonical name of a precision that torch has as a dtype."""
    from alpha_callbacks.precisions.registry import dtype_of, get_precision

    dtype_of(text)
    return get_precision(text).name


@checked
def device(text: str) -> str:
    """Return the torch device, which is on this machine; "auto" as it is, until something is to be computed."""
    from alpha_callbacks.options import pick_device

    return text if text == "auto" else pick_device(text)


@checked
def plot_format(text: str) -> str:
    """Check a file format of charts."""
    from alpha_callbacks.plots.elements.canvas import check_formats

    check_formats([text])
    return text


def analysis_option(name: str, read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return a parser of a field of AnalysisOptions, which knows what it may be."""

    @checked
    def parse(text: str) -> _T:
        from alpha_callbacks.options import AnalysisOptions

        values: dict[str, Any] = {name: read(text)}
        AnalysisOptions(**values)
        return cast(_T, values[name])

    return parse


@checked
def shard(text: str) -> str:
    """Check "i/n", the i-th of n shares of a scan."""
    from alpha_callbacks.analysis.processes import ScanShare

    ScanShare.parse(text)
    return text


def export_format(text: str) -> str:
    """Check the name of an exporter."""
    from alpha_callbacks.planning.export_plan import targets

    return one_of(*targets())(text)


def writer_format(text: str) -> str:
    """Check the name of a writer of checkpoints."""
    return one_of(*plugins.names("writers"))(text)


def regex(text: str) -> str:
    """Check a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise typer.BadParameter(f"expected a regular expression, got {text!r} ({error}).") from error
    return text


def folder(text: str) -> Path:
    """Return a folder, which may still have to be made."""
    if not text.strip():
        raise typer.BadParameter("expected a folder, got an empty name. Name one; the current folder is '.'.")
    path = Path(text)
    if file := next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None):
        raise typer.BadParameter(f"expected a folder, got {text!r} ({file} is a file). Name another.")
    return path


def output_file(text: str) -> Path:
    """Return a file to write, which may be there already."""
    path = Path(text)
    if path.is_dir():
        raise typer.BadParameter(f"expected a file to write, got the folder {text!r}. Name a file in it.")
    folder(str(path.parent))
    return path


def model(text: str) -> str:
    """Return a path or a model id; `tiny_llama` is the model that comes with the package."""
    if text != EXAMPLE_MODEL or Path(text).exists():
        return text
    from alpha_callbacks.checkpoints.locate import EMBEDDED

    return str(EMBEDDED)


def typed_model(name: str) -> str:
    """Return what to type for a model that `model` has returned."""
    return EXAMPLE_MODEL if model(EXAMPLE_MODEL) == name else name
