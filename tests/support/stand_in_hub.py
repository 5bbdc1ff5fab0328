"""A stand-in for the hub and its storage host on this machine, which fails on demand.

The hub answers the model's description and redirects files to the storage host with a signed address, as the real one
does for files in LFS or Xet; the storage host sends ranges. Both remember each request.
"""

import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Request(NamedTuple):
    """One request; `span` is what its Range header says."""

    host: str  # "hub" or "storage"
    path: str
    span: str
    authorization: str


@dataclass
class StandIn:
    """What is served, and what goes wrong.

    Attributes:
        files: path in the repository -> content.
        direct: files are sent by the hub itself, without a redirect.
        hub_faults: taken one by one by requests to the hub, of files and of the description.
        faults: taken one by one by requests to the storage host (or to the hub if `direct`) that ask for a range.
        only: path whose requests take faults; "" for any.
    """

    files: dict[str, bytes]
    direct: bool = False
    hub_faults: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    only: str = ""
    skip: int = 0  # ranges that are sent soundly before the first fault
    commit: str = COMMIT
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    signature: int = 0
    valid: int = 0  # signatures below it have expired
    one_range_each: bool = False  # a signed address is valid for the range that it was given out for
    spans: dict[str, str] = field(default_factory=dict)
    hub_url: str = ""
    storage_url: str = ""
    lock: Any = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def expire(self) -> None:
        """Make all signed addresses invalid that were given out so far."""
        self.valid = self.signature + 1

    def etag(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()

    def next_fault(self, path: str) -> str:
        with self.lock:
            if not self.faults or self.only not in ("", path):
                return ""
            if self.skip:
                self.skip -= 1
                return ""
            return self.faults.pop(0)

    def ranges(self, host: str = "storage") -> list[str]:
        return [request.span for request in self.requests if request.host == host and request.span]


class Handler(BaseHTTPRequestHandler):
    """Common to both hosts."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the end of each answer waits 40 ms for an acknowledgement
    state: StandIn
    host = ""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.state.lock:
            self.state.requests.append(
                Request(self.host, path, self.headers.get("Range", ""), self.headers.get("Authorization", ""))
            )
        try:
            self.handle_path(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def handle_path(self, path: str) -> None:
        raise NotImplementedError

    def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def status_fault(self, fault: str) -> bool:
        """Send "503", or "429 0" with its Retry-After."""
        if not fault[:3].isdigit():
            return False
        code, _, wait = fault.partition(" ")
        self.answer(int(code), b"why it failed", **({"Retry_After": wait} if wait else {}))
        return True

    def send_range(self, content: bytes, etag: str) -> None:
        """Send the range asked for, or what the next fault makes of it."""
        path = unquote(urlsplit(self.path).path).lstrip("/")
        fault = self.state.next_fault(path.rpartition("/")[2])
        span = self.headers.get("Range", "")
        if self.status_fault(fault):
            return
        if fault == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if fault == "silence":
            self.state.released.wait(20)
            self.close_connection = True
            return
        if not span or fault == "whole":
            self.answer(200, content, ETag=f'"{etag}"')
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(content))
        if start >= len(content):
            self.answer(416, Content_Range=f"bytes */{len(content)}")
            return
        if fault == "endless":
            stop = len(content)
        if fault == "fewer":
            stop = start + (stop - start + 1) // 2
        if fault == "other":
            start, stop = start + 1, stop
        body = content[start:stop]
        headers = {"ETag": f'"{etag}"', "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        headers["Content-Length"] = str(len(body))
        if fault == "etag":
            headers["ETag"] = '"another"'
        elif fault == "size":
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content) + 8}"
        elif fault == "no range":
            del headers["Content-Range"]
        elif fault == "lie less":
            headers["Content-Length"] = str(len(body) - 3)
        elif fault == "lie more":
            headers["Content-Length"] = str(len(body) + 3)
        elif fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        elif fault in ("chunked more", "chunked fewer"):
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        self.send_response(206)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "drop":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault == "drip":
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                self.wfile.flush()
                if self.state.released.wait(0.02):
                    break
            self.close_connection = True
        elif fault.startswith("chunked"):
            out = body + b"more" if fault == "chunked more" else body[:-3]
            self.wfile.write(f"{len(out):x}\r\n".encode() + out + b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(body)
        with self.state.lock:
            self.state.sent += len(body)


class HubHandler(Handler):
    """The hub."""

    host = "hub"

    def handle_path(self, path: str) -> None:
        state = self.state
        with state.lock:
            fault = state.hub_faults.pop(0) if state.hub_faults else ""
        if self.status_fault(fault):
            return None
        if fault == "loop":
            return self.answer(302, Location=self.path)
        if fault.startswith("to "):
            return self.answer(302, Location=fault[3:])
        if "org/gated" in path and "/resolve/" in path:
            return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access to model is restricted")
        if not path.removeprefix("/api/models").startswith(("/org/tiny", "/org/gated")):
            return self.answer(404, X_Error_Code="RepoNotFound")
        if "nosuchrevision" in path:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in state.files]
            return self.answer(200, json.dumps({"sha": state.commit, "siblings": siblings}).encode())
        revision, _, name = path.partition("/resolve/")[2].partition("/")
        if name not in state.files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if name.endswith(".json"):
            return self.answer(200, state.files[name], ETag='"small"', X_Repo_Commit=state.commit)
        if state.direct:
            return self.send_range(state.files[name], state.etag(name))
        with state.lock:
            state.signature += 1
            signature = str(state.signature)
            state.spans[signature] = self.headers.get("Range", "")
        location = f"{state.storage_url}/blobs/{name}?X-Signature={signature}"
        return self.answer(
            302,
            Location=location,
            X_Linked_ETag=f'"{state.etag(name)}"',
            X_Linked_Size=str(len(state.files[name])),
            X_Repo_Commit=state.commit,
        )


class StorageHandler(Handler):
    """The storage host."""

    host = "storage"

    def handle_path(self, path: str) -> None:
        signature = parse_qs(urlsplit(self.path).query).get("X-Signature", ["0"])[0]
        stale = int(signature) < self.state.valid
        if self.state.one_range_each:
            stale = stale or self.state.spans.get(signature) != self.headers.get("Range", "")
        if stale:
            return self.answer(403, b"Request has expired")
        name = path.removeprefix("/blobs/")
        if name not in self.state.files:
            return self.answer(404)
        return self.send_range(self.state.files[name], f"blob-{self.state.etag(name)[:8]}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def stand_in(files: dict[str, bytes], **options: Any) -> Iterator[StandIn]:
    """Serve files as the model org/tiny, until the `with` block ends."""
    state = StandIn(files, **options)
    servers = []
    for kind in (HubHandler, StorageHandler):
        handler = type(kind.__name__, (kind,), {"state": state})
        servers.append(_Server(("127.0.0.1", 0), handler))
    state.hub_url, state.storage_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        state.released.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder as they lie in a repository."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)
