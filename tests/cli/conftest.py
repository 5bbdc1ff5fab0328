"""What the tests of the command share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import typer.main

from alpha_callbacks.cli.app import app, main


@dataclass(frozen=True)
class Done:
    """How a run of the command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def alpha_hill(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run the command in this process as a shell would, through `main`."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr("sys.argv", ["alpha-hill", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Done(int(stop.value.code or 0), captured.out, captured.err)

    return run


def commands() -> dict[str, typer.core.TyperCommand]:
    """Return every command below alpha-hill."""
    return typer.main.get_group(app).commands  # type: ignore[return-value, attr-defined]


def options() -> Iterator[tuple[str, typer.core.TyperOption]]:
    """Yield (command, option) of all commands."""
    for name, command in commands().items():
        for param in command.params:
            if isinstance(param, typer.core.TyperOption):
                yield name, param
