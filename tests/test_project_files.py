"""The files that hosts and tools read (citation, workflow, templates, hooks) are valid and agree with the package."""

import os
import re
import tomllib
from typing import Any

import pytest
import yaml

from alpha_callbacks import __version__
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEMPLATES = REPOSITORY / ".github" / "ISSUE_TEMPLATE"


def read(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def test_citation_changelog_and_package_have_one_version() -> None:
    citation = read("CITATION.cff")
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changelog, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1] == (__version__, citation["date-released"])
    assert citation["version"] == __version__


def test_citation_has_what_the_format_requires() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["title"] and citation["message"] and all(author["name"] for author in citation["authors"])
    assert citation["license"] == PROJECT["license"]


def test_the_workflow_calls_ci_run_on_the_python_versions_of_the_classifiers() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert {"push", "pull_request"} == set(workflow[True])  # YAML reads the key "on" as a boolean
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    tested = {step["with"]["python-version"] for step in job["steps"] if "python-version" in step.get("with", {})}
    classifiers = {item.rpartition(" :: ")[2] for item in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", item)}
    assert tested == classifiers


def test_hooks_are_the_pinned_tools_that_contributors_are_told_to_run() -> None:
    hooks = {hook["entry"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert hooks == {"ruff format", "ruff check", "mypy", "lint-imports"}
    pinned = {re.split("==", item)[0] for item in PROJECT["optional-dependencies"]["lint"] if "==" in item}
    assert pinned == {"ruff", "mypy", "import-linter", "pip-licenses"}
    told = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "ruff format . && ruff check . && lint-imports && mypy && pytest" in told


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_templates(name: str) -> None:
    template = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert template["name"] and template["description"]
    fields = template["body"]
    assert {field["type"] for field in fields} <= {"markdown", "input", "textarea", "dropdown", "checkboxes"}
    assert len({field["id"] for field in fields}) == len(fields)
    assert any("alpha-hill --version" in field["attributes"].get("description", "") for field in fields)


def test_a_bug_report_asks_for_the_record_of_the_run() -> None:
    assert "run.json" in (TEMPLATES / "bug.yml").read_text(encoding="utf-8")
