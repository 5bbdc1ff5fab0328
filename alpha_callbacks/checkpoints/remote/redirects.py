"""One GET request through huggingface_hub's session: whom the token is shown, redirects, and what a status means."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from alpha_callbacks._version import __version__
from alpha_callbacks.errors import CheckpointError, SourceError

_MOST_REDIRECTS = 8
_PASSING = (408, 425, 429)  # statuses that pass; so may all from 500 on


class Fault(Exception):
    """A request that failed and may succeed when it is sent again; `wait`: seconds that the server asks for."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class Wrong(Exception):
    """What a server does and no second request would mend, as a bare fact."""


class Refused(SourceError):
    """A status that will not change; `code` is the hub's own word for the reason ("GatedRepo", ...)."""

    def __init__(self, text: str, status: int, code: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Answer:
    """An answer with status 200 or 206 whose body has not been read.

    Attributes:
        response: of huggingface_hub's session.
        headers: lower-case name -> text; what it lacks itself is that of the redirects that led to it.
        url: where it came from.
    """

    response: Any
    headers: Mapping[str, str]
    url: str


@contextmanager
def follow(url: str, headers: Mapping[str, str], timeout: float) -> Iterator[Answer]:
    """Send a GET request and follow redirects; the token goes to the hub's endpoint and nowhere else.

    Raises:
        Fault: a status that may pass.
        Refused: a status that will not.
        Wrong: redirects without an end, or to where no request may go.
    """
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # documented, not in __all__

    if not hasattr(get_session(), "stream"):
        raise Wrong("expected huggingface_hub 1.0 or later, which reads files in parts, got an older one. Update it")
    said, place = dict[str, str](), url
    for _ in range(_MOST_REDIRECTS):
        sent = {**_who_asks(place), "Accept-Encoding": "identity", **headers}
        with get_session().stream("GET", place, headers=sent, timeout=timeout, follow_redirects=False) as response:
            said |= {name.lower(): text for name, text in response.headers.items()}
            target = response.headers.get("location") if 300 <= response.status_code < 400 else None
            if target is None:
                _require_success(response, place)
                yield Answer(response, said, place)
                return
        place = _next(place, target)
    raise Wrong(f"expected a file, got more than {_MOST_REDIRECTS} redirects. Check the address")


def shown(url: str) -> str:
    """Return a URL without what may be secret: user, password and signature."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", most=200)


def without_secrets(text: str) -> str:
    """Return a text, such as a command, whose URLs are as `shown` gives them."""

    def harmless(url: re.Match[str]) -> str:
        try:
            return shown(url[0])
        except ValueError:  # no URL after all
            return "(address)"

    return re.sub(r"https?://\S+", harmless, text, flags=re.IGNORECASE)


def printable(text: str, most: int = 80) -> str:
    """Return the beginning of a foreign text on one line, without what would control a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port.

    Raises:
        ValueError: the port is no number.
    """
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def require_web_address(url: str) -> None:
    """Check that a URL is http or https and names a host.

    Raises:
        CheckpointError: it is not.
    """
    try:
        scheme, host, _ = origin(url)
    except ValueError:
        scheme, host = "", ""
    if scheme not in ("http", "https") or not host:
        raise CheckpointError(f"{printable(url, 200)}: expected an address that begins with https:// or http://.")


def _who_asks(url: str) -> dict[str, str]:
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # as above

    token = None if origin(url) == origin(constants.ENDPOINT) else False  # None: the one of the environment or login
    found: dict[str, str] = build_hf_headers(token=token, library_name="alpha_callbacks", library_version=__version__)
    return found


def _next(url: str, target: str) -> str:
    """Return where a redirect leads."""
    try:
        found = urljoin(url, target)
        require_web_address(found)
    except (ValueError, CheckpointError) as error:
        raise Wrong(f"expected a redirect to a web address, got {printable(target)!r}") from error
    if url.startswith("https:") and not found.startswith("https:"):
        raise Wrong(f"expected an encrypted connection, got a redirect to {shown(found)}")
    return found


def _require_success(response: Any, url: str) -> None:
    status, headers = response.status_code, response.headers
    if status in (200, 206):
        return
    said = f"status {status} {printable(response.reason_phrase)}".strip()
    if status in _PASSING or status >= 500:
        raise Fault(f"{said} from {shown(url)}", _asked_wait(headers))
    reason = printable(headers.get("x-error-message") or _beginning(response), 200)
    text = f"{shown(url)}: expected a file, got {said}{f' ({reason})' if reason else ''}."
    raise Refused(text, status, headers.get("x-error-code", ""))


def _beginning(response: Any) -> str:
    """Return what comes first of a refusal: storage hosts say there what is wrong with a signed address."""
    if "html" in response.headers.get("content-type", ""):
        return ""
    return next((chunk[:400].decode(errors="replace") for chunk in response.iter_raw()), "")


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After (a number or a date), or of `ratelimit: "resolvers";r=0;t=55`."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        limit = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
        return float(limit[1]) if limit else None
