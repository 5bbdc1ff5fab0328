"""A page from disk in Debian's chromium, which tells of every request, error and dialog."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NASTY = (
    "model.layers.0.</script><script>window.hit=1</script><img src=x onerror=window.hit=1>%{y}"
    "<a href='javascript:1'>.q_proj"
)


@dataclass
class Opened:
    """An open page and what happened on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def text(self) -> str:
        return str(self.page.inner_text("body"))

    def scroll(self) -> None:
        """Bring every chart into view, so that it is drawn."""
        for y in range(0, int(self.page.evaluate("document.documentElement.scrollHeight")), 500):
            self.page.evaluate(f"window.scrollTo({{top: {y}, behavior: 'instant'}})")
            self.page.wait_for_timeout(120)


@contextmanager
def opened(html: str, folder: Path, *, theme: str = "light") -> Iterator[Opened]:
    """Open a page from file://; skip, visibly, where there is no browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on this machine")
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        try:
            found = Opened(chromium.new_page(viewport={"width": 1300, "height": 900}, color_scheme=theme))
            found.page.on("request", lambda request: found.requests.append(request.url))
            found.page.on("pageerror", lambda error: found.errors.append(str(error)))
            found.page.on(
                "console",
                lambda message: found.errors.append(message.text) if message.type in ("error", "warning") else None,
            )
            found.page.goto(path.as_uri())
            found.scroll()
            yield found
            assert found.requests == [path.as_uri()]
            assert found.errors == []
            assert found.page.evaluate("window.hit") is None
            assert found.page.locator("main img, main a[href^=javascript]").count() == 0
        finally:
            chromium.close()
