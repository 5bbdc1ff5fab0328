"""What an answer to a range request says: which bytes, of which version of the file, and the bytes themselves."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from alpha_callbacks.checkpoints.remote.link import Link
from alpha_callbacks.checkpoints.remote.redirects import Answer, Fault, Wrong, printable

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Version:
    """What may not change of a file while it is read; empty where a server does not say it.

    Attributes:
        size: in bytes.
        etag: of the host that sends it.
        content: of the content, as the hub names it (X-Linked-Etag).
        modified: date, which counts where there is no etag.
        commit: of the repository.
    """

    size: int = 0
    etag: str = ""
    content: str = ""
    modified: str = ""
    commit: str = ""

    def __str__(self) -> str:
        """Return what identifies the file from one scan to the next."""
        return f"{self.content or self.etag or self.modified}, {self.size} bytes"

    @property
    def known(self) -> bool:
        """True if a change of content would be seen."""
        return bool(self.etag or self.content or self.modified)

    def change(self, now: "Version") -> str:
        """Return what differs in a later answer, or an empty string."""
        names = ("size", "content", "etag", "commit", *(() if self.etag and now.etag else ("modified",)))
        pairs = ((name, getattr(self, name), getattr(now, name)) for name in names)
        return next((f"{name} {a}, now {b}" for name, a, b in pairs if a and b and a != b), "")


class Span(NamedTuple):
    """The bytes from `start` to before `stop` of a file of `size` bytes (0: the server does not say)."""

    start: int
    stop: int
    size: int


def span_of(answer: Answer) -> Span:
    """Return which bytes an answer brings.

    Raises:
        Wrong: the whole file, or no range that can be read.
    """
    if answer.response.status_code != 206:
        raise Wrong(
            "expected 206 Partial Content, got 200 and the whole file: this server does not send ranges. "
            "Download the model and scan it"
        )
    text = answer.response.headers.get("content-range", "")
    match = _RANGE.fullmatch(text.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise Wrong(f"expected a Content-Range, got {printable(text)!r}. Download the model and scan it")
    size = 0 if match[3] == "*" else int(match[3])
    stop = int(match[2]) + 1
    return Span(int(match[1]), min(stop, size) if size else stop, size)


def version_of(headers: Mapping[str, str], size: int) -> Version:
    """Return the version of the file that an answer with these headers is about."""
    return Version(
        size,
        _tag(headers.get("etag", "")),
        _tag(headers.get("x-linked-etag", "")),
        printable(headers.get("last-modified", "")),
        printable(headers.get("x-repo-commit", "")),
    )


def body_of(answer: Answer, length: int, link: Link) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come, never more than `length`.

    Raises:
        Fault: fewer or more bytes, or too few in a while.
        Wrong: compressed bytes, of which no part can be used.
    """
    headers = answer.response.headers
    if (coding := headers.get("content-encoding", "identity").strip().lower()) not in ("", "identity"):
        raise Wrong(f"expected the bytes as they are, got them as {printable(coding)}. Download the model")
    told = headers.get("content-length")
    if told is not None and told.strip() != str(length):
        raise Fault(f"a Content-Length of {printable(told)} for a range of {length} bytes")
    left, since, came, timeout = length, time.monotonic(), 0, link.timeout
    for chunk in answer.response.iter_raw():
        if len(chunk) > left:
            raise Fault(f"more than the {length:,} bytes of the range")
        left, came = left - len(chunk), came + len(chunk)
        link.traffic.add(len(chunk))
        yield chunk
        if (passed := time.monotonic() - since) > timeout:
            if came < link.patience.slowest * passed:
                raise Fault(f"{came:,} bytes in {passed:.0f} s")
            since, came = since + passed, 0
    if left:
        raise Fault(f"{length - left:,} of {length:,} bytes")


def _tag(text: str) -> str:
    return printable(text.strip().removeprefix("W/").strip('"'))
