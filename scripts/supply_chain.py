"""What an installation of alpha-callbacks brings: each package, its size, its licence, and what needs it.

    python -m venv clean && clean/bin/pip install -c constraints.txt .
    clean/bin/python scripts/supply_chain.py        # the table of docs/supply_chain.md

It reads the metadata of the environment that runs it, and needs nothing but Python.
"""

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

_OWN = "alpha-callbacks"
_WITH_PYTHON = {"pip", "setuptools"}  # of every environment
# Why we need what we ask for ourselves; of everything else the table names who asks for it.
_WHY = {
    "torch": "tensors and eigenvalues",
    "numpy": "arrays of charts and files",
    "safetensors": "reads checkpoints without running code",
    "huggingface-hub": "model ids",
    "filelock": "one run per folder, on every system",
    "psutil": "free memory, and which processes live, on every system",
    "matplotlib": "charts",
    "pandas": "histories and tables in notebooks",
    "typer": "the command",
    "rich": "tables and progress in the terminal",
    "jinja2": "pages",
    "plotly": "its script makes the pages interactive; it is in the page, not fetched",
}
_CLASSIFIER = "License :: OSI Approved :: "


def main() -> None:
    """Print the table, largest first, and a line of totals."""
    found = {_name(dist.metadata["Name"]): dist for dist in distributions()}
    asking = _asking(found)
    wanted = [name for name in found if name not in {_OWN, *_WITH_PYTHON}]
    sizes = {name: _size(found[name]) for name in wanted}
    print(f"{len(wanted)} packages, {sum(sizes.values()) / 1e6:,.0f} MB:\n")
    print("| package | MB | licence | why |\n|---|---|---|---|")
    for name in sorted(wanted, key=lambda name: -sizes[name]):
        why = _WHY.get(name) or "for " + ", ".join(sorted(asking.get(name, ())))
        size = f"{sizes[name] / 1e6:.0f}" if sizes[name] >= 1e6 else "< 1"
        print(f"| {name} {found[name].version} | {size} | {_licence(found[name])} | {why} |")


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asking(found: dict[str, Distribution]) -> dict[str, set[str]]:
    """Return package -> those that require it without an extra."""
    asking: dict[str, set[str]] = {}
    for name, dist in found.items():
        for requirement in dist.requires or ():
            if "extra ==" not in requirement and (match := re.match(r"[A-Za-z0-9._-]+", requirement)):
                asking.setdefault(_name(match[0]), set()).add(name)
    return asking


def _size(dist: Distribution) -> int:
    """Return the bytes of the files that a package has installed, without compiled Python, which grows with use."""
    places = (Path(str(dist.locate_file(file))) for file in dist.files or () if not str(file).endswith(".pyc"))
    return sum(place.stat().st_size for place in places if place.is_file())


def _licence(dist: Distribution) -> str:
    metadata: Any = dist.metadata  # an email message, which its protocol does not say in full
    told = str(metadata.get("License-Expression") or "")
    if not told:
        classifiers = metadata.get_all("Classifier") or []
        told = ", ".join(c.removeprefix(_CLASSIFIER) for c in classifiers if c.startswith(_CLASSIFIER))
    told = told or str(metadata.get("License") or "").strip().split("\n")[0]
    return told[:80] or "not told"


if __name__ == "__main__":
    main()
