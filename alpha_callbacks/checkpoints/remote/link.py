"""The way to a server: requests through huggingface_hub's session, with pauses and a bounded number at a time."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from alpha_callbacks.checkpoints.hub_errors import TRANSPORT, first_line
from alpha_callbacks.checkpoints.remote.redirects import Answer, Fault, Refused, Wrong, follow
from alpha_callbacks.checkpoints.traffic import Traffic
from alpha_callbacks.errors import CheckpointError, SourceError

_PROGRESS = 64 * 2**10  # bytes after which a connection that broke counts as one that worked
_FINAL = ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "ProxyError")  # of httpx: no second try helps
_KEPT = "Finished layers are kept: run the same command again to continue."


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        tries: that may fail in a row, none of them with progress.
        first_tries: the same for a server that has not answered yet.
        backoff: seconds before the second try; doubled each time, up to `longest_backoff`.
        longest_backoff: in seconds.
        longest_wait: seconds that a server may ask for (Retry-After).
        timeout: seconds without a byte; None: HF_HUB_DOWNLOAD_TIMEOUT, 10 by default.
        slowest: bytes per second; an answer that is slower for the time of `timeout` is given up.
    """

    tries: int = 6
    first_tries: int = 3
    backoff: float = 1.0
    longest_backoff: float = 30.0
    longest_wait: float = 300.0
    timeout: float | None = None
    slowest: float = 1000.0


class Link:
    """Sends the requests of one scan.

    Attributes:
        patience: how long a server is waited for.
        connections: requests at the same time.
        traffic: counts the bytes of bodies.
    """

    def __init__(self, *, connections: int = 8, patience: Patience | None = None) -> None:
        self.patience, self.connections, self.traffic = patience or Patience(), connections, Traffic()
        self._slots, self._closed = threading.Semaphore(connections), threading.Event()
        self._reached, self._not_before = False, 0.0
        self._why: Exception = SourceError("expected an open connection, the scan has ended.")

    @property
    def timeout(self) -> float:
        """Seconds that may pass without a byte."""
        from huggingface_hub import constants

        return self.patience.timeout or float(constants.HF_HUB_DOWNLOAD_TIMEOUT)

    def close(self, why: Exception | None = None) -> None:
        """End all pauses; from now on no request is sent, and `why` is raised."""
        if why is not None and not self._closed.is_set():
            self._why = why
        self._closed.set()

    @contextmanager
    def send(self, url: str, headers: Mapping[str, str], where: str) -> Iterator[Answer]:
        """Send a GET request and give its answer, whose body is read inside the `with` block.

        Args:
            url: http or https.
            headers: beside those that huggingface_hub sends.
            where: the file as messages name it.

        Raises:
            Fault: what may pass.
            Refused: a status from 400 on that will not change.
            SourceError: everything else that a server can do wrong.
        """
        self._sleep(self._not_before - time.monotonic())
        with self._slots:
            try:
                with follow(url, headers, self.timeout) as answer:
                    self._reached = True
                    yield answer
            except Exception as error:
                self._reached = self._reached or isinstance(error, Fault | Refused)  # a status, so it is there
                meaning = _meaning(error, where)
                raise meaning from (error if meaning is not error else error.__cause__)

    def attempts(self, attempt: Callable[[], None], progress: Callable[[], int], where: str) -> None:
        """Try until it succeeds, with pauses; once bytes have come, the tries are counted anew.

        Args:
            attempt: sends a request; may raise Fault.
            progress: bytes that are here.
            where: the file as messages name it.

        Raises:
            SourceError: too many tries, or the server asks for too long a wait.
        """
        failed = 0
        while True:
            before = progress()
            try:
                return attempt()
            except Fault as fault:
                failed = 0 if progress() - before >= _PROGRESS else failed + 1
                self._pause(fault, failed, where)

    def _pause(self, fault: Fault, failed: int, where: str) -> None:
        patience = self.patience
        if failed >= (patience.tries if self._reached else patience.first_tries):
            raise SourceError(f"{where}: expected an answer, got {fault}, {failed} times. {_KEPT}")
        wait = min(patience.backoff * 2.0 ** (failed - 1), patience.longest_backoff) if failed else 0.0
        if fault.wait is not None:
            if fault.wait > patience.longest_wait:
                asked = f"{fault}, to be sent again in {fault.wait:,.0f} s"
                raise SourceError(f"{where}: expected an answer, got {asked}. {_KEPT}")
            wait = fault.wait
            self._not_before = max(self._not_before, time.monotonic() + wait)  # it is meant for all connections
        self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(max(0.0, seconds)):
            raise self._why


def _meaning(error: Exception, where: str) -> Exception:
    """Return the error that says what happened to a request; what is not about the request is returned as it is."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, Fault | CheckpointError):
        return error
    if isinstance(error, Wrong):
        return SourceError(f"{where}: {error}.")
    if isinstance(error, OfflineModeIsEnabled):
        return SourceError(f"{where}: expected to reach it, but offline mode is on. Unset HF_HUB_OFFLINE.")
    if not (isinstance(error, OSError) or type(error).__module__.startswith(TRANSPORT)):
        return error
    said = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
    if type(error).__name__ in _FINAL or "CERTIFICATE_VERIFY_FAILED" in said:
        return SourceError(f"{where}: expected to reach it, got {said}. Check the address and the proxy.")
    return Fault(said)
