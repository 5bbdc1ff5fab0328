"""What README and errors promise about the package is so."""

import re
import tomllib

from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_every_extra_that_is_named_exists() -> None:
    sources = [
        *REPOSITORY.glob("alpha_callbacks/**/*.py"),
        *REPOSITORY.glob("integrations/**/*.py"),
        *REPOSITORY.glob("*.md"),
    ]
    text = "\n".join(file.read_text() for file in sources)
    named = set(re.findall(r"\.\[(\w+)\]", text)) | set(re.findall(r'MissingExtraError\([^)]*"(\w+)"\)', text))
    assert named - {"extra"} <= set(PROJECT["project"]["optional-dependencies"])
    assert "gguf" in named


def test_every_dependency_is_pinned_in_constraints() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [*PROJECT["project"]["dependencies"], *sum(PROJECT["project"]["optional-dependencies"].values(), [])]
    names = {re.split(r"[\[<>=!~ ]", item)[0].lower() for item in wanted} - {"alpha-callbacks"}
    assert names <= pinned
