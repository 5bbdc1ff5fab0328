"""README and documentation name only what exists, and the pages show the examples that they promise."""

import html
import re
from pathlib import Path

import pytest
import yaml

from scripts import gallery
from scripts.gallery_shots import BEFORE_CARDS, BEFORE_FILES, BEFORE_SHOTS, CARDS, FILES, SHOTS
from tests.conftest import REPOSITORY

markdown = pytest.importorskip("markdown")
pytest.importorskip("pymdownx")

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
MARKER = re.compile(r'^\s*--8<-- "(.+)"$', re.MULTILINE)
SHOWN = {page: MARKER.findall(page.read_text(encoding="utf-8")) for page in PAGES}


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:tests|examples|scripts|benchmarks)/[\w./*]*\w(?:/(?!\w))?", text)
    lost = [path for path in paths if not list(REPOSITORY.glob(path.rstrip("/")))]
    modules = re.findall(r"python -m ((?:benchmarks|scripts)\.\w+)", text)
    files = {module: REPOSITORY / module.replace(".", "/") for module in modules}
    programs = {module: (path.with_suffix(".py"), path / "__main__.py") for module, path in files.items()}
    lost += [module for module, paths in programs.items() if not any(path.exists() for path in paths)]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_something_is_named_and_shown() -> None:
    assert "pytest tests/" in (REPOSITORY / "docs/trust.md").read_text(encoding="utf-8")
    assert sum(map(len, SHOWN.values())) >= 4


def test_the_gallery_shows_what_its_program_makes() -> None:
    page = (REPOSITORY / "docs/gallery.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"images/gallery/(\w+)\.png", page))
    kept = {path.stem: path.stat().st_size for path in gallery.PICTURES.iterdir()}
    made = {*SHOTS, *CARDS, *FILES, *BEFORE_SHOTS, *BEFORE_CARDS, *BEFORE_FILES}
    assert shown == set(kept) and made == set(kept) - {"wandb"}
    assert sum(kept.values()) < 1.8e6


@pytest.mark.parametrize("page", [page for page, shown in SHOWN.items() if shown], ids=name)
def test_a_built_page_contains_its_example(page: Path) -> None:
    text = built(page)
    for example in SHOWN[page]:
        lines = (REPOSITORY / example).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.strip() and line.strip() not in text] == []


def test_no_page_shows_a_marker_instead_of_an_example() -> None:
    tutorials = [page for page in PAGES if page.parent.name == "tutorials"]
    assert [name(page) for page in tutorials if not SHOWN[page]] == []
    assert [name(page) for page in tutorials if re.search("--8 ?<", built(page))] == []


def built(page: Path) -> str:
    """Return the text of a page, made with the extensions of mkdocs.yml."""
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [item if isinstance(item, dict) else {item: {}} for item in config["markdown_extensions"]]
    settings = {extension: options or {} for item in listed for extension, options in item.items()}
    settings["pymdownx.snippets"]["base_path"] = [str(REPOSITORY)]
    page_html = markdown.markdown(
        page.read_text(encoding="utf-8"), extensions=list(settings), extension_configs=settings
    )
    return html.unescape(re.sub(r"<[^>]+>", "", page_html))


def test_the_readme_is_short_and_has_the_two_blocks_that_ci_runs() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 130
    assert re.findall(r"<!-- ci:(\w+) -->\n```bash\n(?=\S)", readme) == ["run", "test"]
