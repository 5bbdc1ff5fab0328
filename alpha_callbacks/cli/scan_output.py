"""Where the results of `scan` and `merge` go, what is drawn, and how the commands end."""

from collections.abc import Sequence
from pathlib import Path

import typer

from alpha_callbacks.checkpoints.remote.redirects import shown
from alpha_callbacks.cli.parsers import EXAMPLE_MODEL
from alpha_callbacks.cli.print_scan import print_scan
from alpha_callbacks.cli.show_page import show_page
from alpha_callbacks.foreign_text import legal_folder_name, safe_file_name
from alpha_callbacks.planning.takers import say_formats
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.scanning.write_results import Plots, ScanResult
from alpha_callbacks.tables.results_folder import REPORT
from alpha_callbacks.utils.model_names import model_name


def plots(formats: list[str] | None, *, which: str, none: bool, max_layers: int) -> Plots:
    """Return what to draw, from the options of `scan` and `merge`."""
    return Plots(() if none else tuple(dict.fromkeys(formats or ["png"])), max_layers, every_layer=which == "all")


def finish(result: ScanResult | None, *, open_page: bool = False) -> None:
    """Print the result of a scan, unless another process has it, show its page, and leave with its exit code."""
    if result is not None:
        print_scan(result)
        if (page := result.directory / REPORT).exists():
            show_page(page, open_page=open_page)
        raise typer.Exit(1 if result.failed else 0)


def print_takers(precisions: Sequence[str], model: str | None) -> None:
    """Say at the start of a scan which targets a plan of its low-bit formats can go to, rather than at the end."""
    low = [name for name in precisions if get_precision(name).low_bit]
    if low:
        sentence, taken = say_formats(low, gguf=_is_gguf(model))
        typer.secho(sentence, fg=None if taken else typer.colors.YELLOW, err=True)


def _is_gguf(model: str | None) -> bool:
    path = Path(model or "")
    inside = {file.suffix.lower() for file in path.iterdir()} if model and path.is_dir() else {path.suffix.lower()}
    return ".gguf" in inside and ".safetensors" not in inside


def result_name(model: str | None) -> str:
    """Return the name of the folder for the results of a model."""
    if model and "://" in model:
        return safe_file_name(shown(model).partition("://")[2])
    path = Path(model or EXAMPLE_MODEL)
    return legal_folder_name((model_name(path) if path.exists() else path.as_posix()).replace("/", "--"))
