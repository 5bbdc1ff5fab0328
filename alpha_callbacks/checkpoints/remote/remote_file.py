"""A file on a server, read by ranges; every answer must be of the version that was opened."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from alpha_callbacks.checkpoints.remote.link import Link
from alpha_callbacks.checkpoints.remote.ranges import Version, body_of, span_of, version_of
from alpha_callbacks.checkpoints.remote.redirects import Answer, Fault, Refused, Wrong, shown
from alpha_callbacks.errors import SourceError

_PIECE = 16 * 2**20  # bytes of one request; pieces of one tensor are fetched side by side
_EXPIRED = (400, 401, 403, 404, 410)  # what storage hosts answer to a signed address whose time is over
_SHORT_LIVED = 60.0  # seconds; an address that ends sooner is not kept, since it may be signed for a single range


class RemoteFile:
    """One file of a model on a server.

    Attributes:
        url: its address.
        where: the address as it may be shown.
        beginning: its first bytes, which came with the answer that told its version.
        version: what every later answer is compared with.
    """

    def __init__(self, url: str, link: Link, *, first: int, commit: str = "") -> None:
        """Read the first bytes and remember which version of the file they are of.

        Args:
            url: http or https.
            link: sends the requests.
            first: bytes to read now; of a shorter file all are read.
            commit: which the hub should say the file is of.

        Raises:
            Refused: the server will not give the file.
            SourceError: it cannot be reached, does not send ranges, or does not say which version it sends.
        """
        self.url, self.where, self._link = url, shown(url), link
        self._location, self._located, self._lasts = url, 0.0, True
        self.version = Version(commit=commit)
        self.beginning = b""
        link.attempts(lambda: self._request(0, first, partial(self._begin, first)), lambda: 0, self.where)

    def fill(self, view: memoryview, start: int) -> None:
        """Fill a buffer with the bytes from `start` on, in pieces side by side.

        Raises:
            SourceError: the server is lost, or the file is no longer the one that was opened; names URL and reason.
        """
        pieces = [(view[at : at + _PIECE], start + at) for at in range(0, len(view), _PIECE)]
        if len(pieces) < 2:
            for piece in pieces:
                self._fill(*piece)
            return
        with ThreadPoolExecutor(min(len(pieces), self._link.connections), "alpha-hill-fetch") as pool:
            for done in [pool.submit(self._fill, *piece) for piece in pieces]:
                done.result()

    def _begin(self, first: int, answer: Answer) -> None:
        span = span_of(answer)
        if span.stop > first:
            raise Wrong(f"expected at most {first} bytes, got a range that ends at {span.stop}")
        if span.start != 0 or not span.size:
            raise Wrong(f"expected the first bytes and the size, got bytes from {span.start} on of {span.size}")
        version = version_of(answer.headers, span.size)
        if change := self.version.change(version):
            raise Wrong(f"expected a file of the commit that the hub has named, got another ({change}). Try again")
        if not version.known:
            raise Wrong(
                "expected an ETag or a Last-Modified, by which a change would be noticed, got neither. "
                "Download the model and scan it"
            )
        self.beginning = b"".join(body_of(answer, span.stop, self._link))
        self.version = version

    def _fill(self, view: memoryview, start: int) -> None:
        """Fill a buffer by one request; where a connection breaks, the next goes on with the byte after the last."""
        done = 0

        def take(answer: Answer) -> None:
            nonlocal done
            self._require_same(answer)
            span = span_of(answer)
            if span.start != start + done or span.stop > start + len(view):
                asked = f"{start + done} to {start + len(view)} were asked for"
                raise Fault(f"bytes {span.start} to {span.stop} where {asked}")
            for chunk in body_of(answer, span.stop - span.start, self._link):
                view[done : done + len(chunk)] = chunk
                done += len(chunk)

        try:
            while done < len(view):
                self._link.attempts(
                    lambda: self._request(start + done, start + len(view), take), lambda: done, self.where
                )
        except SourceError as error:
            self._link.close(error)  # the other pieces, and other tensors, need not find out for themselves
            raise

    def _require_same(self, answer: Answer) -> None:
        size = span_of(answer).size if answer.response.status_code == 206 else 0
        if change := self.version.change(version_of(answer.headers, size)):
            raise Wrong(f"{_EXPECTED} ({change}). {_CHANGED}")

    def _request(self, start: int, stop: int, take: Callable[[Answer], None]) -> None:
        """Send a request to where the file was last found; if that address has ended, ask for a new one, once."""
        kept = self._location
        for location in dict.fromkeys((kept, self.url)):
            try:
                with self._link.send(location, {"Range": f"bytes={start}-{stop - 1}"}, self.where) as answer:
                    if self._lasts and self._location != answer.url:
                        self._location, self._located = answer.url, time.monotonic()
                    return take(answer)
            except Refused as refusal:
                if refusal.status == 416 and not self.version.size:
                    text = f"{self.where}: expected a file of weights, got an empty one. Name another."
                    raise SourceError(text) from refusal
                if refusal.status == 416:
                    changed = f"no bytes from {start} on, where there were {self.version.size}"
                    raise SourceError(f"{self.where}: {_EXPECTED} ({changed}). {_CHANGED}.") from refusal
                if location == self.url or refusal.status not in _EXPIRED:
                    raise
                self._lasts = time.monotonic() - self._located > _SHORT_LIVED
                self._location = self.url
        return None


_EXPECTED = "expected the file that was opened, it has changed"
_CHANGED = "Finished layers are of the earlier version: scan again with --no-resume or another --output-dir"
