"""A page from disk in Debian's chromium, which tells of every request, error and dialog."""

import re
import shutil
import tempfile
import time
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

# On a busy machine the watchdog of the GPU process takes waiting for hanging, and then no frame comes any more: no
# chart is drawn, and no click is done, since it waits until its element is in the same place for two frames.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-gpu-watchdog")
PATIENCE = 180_000  # ms that a click or a selector is waited for: such a wait is long only where the machine is busy

# Charts are drawn by an IntersectionObserver, which is called between two frames. The answer is false if none comes.
SCROLL = """async () => {
  const late = () => new Promise(done => setTimeout(() => done(false), 20000));
  const frame = () => Promise.race([new Promise(done => requestAnimationFrame(() => done(true))), late()]);
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    window.scrollTo({top: y, behavior: "instant"});
    if (!(await frame() && await frame())) return false;
  }
  return true;
}"""


@dataclass
class Opened:
    """An open page and what happened on it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def requested(self, request: Any) -> None:
        self.requests.append(request.url)

    def failed(self, error: Any) -> None:
        self.errors.append(str(error))

    def said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def text(self) -> str:
        return str(self.page.inner_text("body"))

    def until(self, condition: str) -> None:
        """Wait until this is true; `wait_for_function` asks again by eval, which the policy of our pages forbids."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def scroll(self) -> bool:
        """Bring every chart into view, so that it is drawn; return whether the browser draws."""
        return bool(self.page.evaluate(SCROLL))


class _Chromium:
    """One browser and one page for all tests: started when first needed, ended by `close_browser`."""

    folder: Any = None  # of the file that is opened: one for all, since its place tells the scripts that are compiled
    driver: Any = None
    browser: Any = None
    page: Any = None  # kept, since a page in a process of its own compiles the script of the charts once more


def _browser() -> Any:
    """Return the browser; skip, visibly, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine")
    if _Chromium.browser is None:
        _Chromium.folder = tempfile.TemporaryDirectory()
        _Chromium.driver = playwright.sync_playwright().start()
        _Chromium.browser = _Chromium.driver.chromium.launch(executable_path=program, args=list(FLAGS))
    return _Chromium.browser


def _page(theme: str) -> Any:
    """Return the page as it was when it was new."""
    if _Chromium.page is None:
        context = _browser().new_context()
        context.set_default_timeout(PATIENCE)
        _Chromium.page = context.new_page()
    _Chromium.page.set_viewport_size({"width": 1300, "height": 900})
    _Chromium.page.emulate_media(color_scheme=theme)
    return _Chromium.page


def _close_page() -> None:
    page, _Chromium.page = _Chromium.page, None
    page.context.close()


def close_browser() -> None:
    """End the browser, and with it the event loop of its driver, which other tests must not find running."""
    if _Chromium.page is not None:
        _close_page()
    if _Chromium.browser is not None:
        _Chromium.browser.close()
        _Chromium.driver.stop()
        _Chromium.folder.cleanup()
        _Chromium.browser = _Chromium.driver = _Chromium.folder = None


_LINE = 20_000  # further down than the script of any page
_DRAWS = """() => new Promise(done => {
  requestAnimationFrame(() => done(true));
  setTimeout(() => done(false), 5000);
})"""


@contextmanager
def new_page(theme: str = "light") -> Iterator[Any]:
    """Return an empty page without storage or setting of another test; only one at a time."""
    page = _page(theme)
    try:
        yield page
        page.evaluate("localStorage.clear()")
        page.mouse.move(0, 0)
        page.goto("about:blank")
    except BaseException:
        _close_page()  # in whatever state it is
        raise


def _aligned(html: str) -> str:
    """Return the page with empty lines before it, so that the script of the charts begins in the same line of all.

    The browser then takes what it has compiled; else that takes two seconds per page.
    """
    starts = [tag.start() for tag in re.finditer("<script", html)]
    longest = max(starts, key=lambda start: html.find("</script>", start) - start)
    return "\n" * (_LINE - html.count("\n", 0, longest)) + html


def on_disk(html: str) -> str:
    """Return the address of the page, in the file that all are written to while the browser is open."""
    path = Path(_Chromium.folder.name) / "page.html"
    path.write_text(_aligned(html), encoding="utf-8")
    return path.as_uri()


@contextmanager
def opened(html: str, *, theme: str = "light", address: str = "", charts: bool = True) -> Iterator[Opened]:
    """Open a page from file://, at an address inside it; in the end it has asked for nothing and told no error.

    Charts are drawn when they come into view. All are, but with charts=False only those that the test brings there.
    """
    if not _page(theme).evaluate(_DRAWS):
        close_browser()  # a starved one may never draw again; the next page is in a new one
    for again in (True, False):
        _page(theme)
        address_of_file = on_disk(html)
        with new_page(theme) as page:
            found = Opened(page)
            listeners = {"request": found.requested, "pageerror": found.failed, "console": found.said}
            for event, listener in listeners.items():
                page.on(event, listener)
            page.goto(address_of_file + (f"#{address}" if address else ""))
            if drawn := not charts or found.scroll():
                yield found
                assert [url.partition("#")[0] for url in found.requests] == [address_of_file]
                assert found.errors == []
                assert page.evaluate("window.hit") is None
                assert page.locator("main img, main a[href^=javascript]").count() == 0
            for event, listener in listeners.items():
                page.remove_listener(event, listener)
        if drawn:
            return
        close_browser()
        assert again, "the browser draws no frame"
