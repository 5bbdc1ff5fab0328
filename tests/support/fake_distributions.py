"""Distributions of third parties, made up in a folder on the path."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alpha_callbacks.precisions import registry
from alpha_callbacks.utils import plugins

Install = Callable[..., None]
BROKEN = 'raise ImportError("libcudart.so.9 is not there")'


def forget() -> None:
    """Let plugins be looked for again."""
    for cached in (plugins._found, registry.families, registry._of_a_family):
        cached.cache_clear()
    plugins._told.clear()


@contextmanager
def distributions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yield a function that installs a distribution: a module with this code, and its entry points by group."""
    made: list[str] = []

    def install(name: str, code: str, **groups: str) -> None:
        module = name.replace("-", "_")
        made.append(module)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[alpha_callbacks.{group}]\n{point.replace('MODULE', module)}\n" for group, point in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        (folder / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)  # again for each: what importlib remembers of the folder is forgotten
        forget()

    yield install
    for module in made:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    forget()
