"""Every way in which a server can fail while a file is read: the bytes come whole, or one error says what happened."""

import threading
from dataclasses import replace

import pytest

from alpha_callbacks.checkpoints.remote import remote_file
from alpha_callbacks.checkpoints.remote.link import Link
from alpha_callbacks.checkpoints.remote.redirects import Refused
from alpha_callbacks.checkpoints.remote.remote_file import RemoteFile
from alpha_callbacks.errors import CheckpointError, SourceError
from tests.checkpoints.remote.conftest import QUICK, Serve
from tests.support.stand_in_hub import COMMIT, StandIn, wait_until

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes
NAME = "model.safetensors"


def opened(hub: StandIn, link: Link, first: int = 8) -> RemoteFile:
    return RemoteFile(f"{hub.hub_url}/org/tiny/resolve/{COMMIT}/{NAME}", link, first=first, commit=COMMIT)


def read(file: RemoteFile, start: int = 1000, stop: int = 300_000) -> bytes:
    found = bytearray(stop - start)
    file.fill(memoryview(found), start)
    return bytes(found)


def hasty(fault: str) -> Link:
    """Return a link that does not wait long for a server that says nothing."""
    silent = fault in ("silence", "drip")
    return Link(connections=4, patience=replace(QUICK, timeout=0.1, slowest=10_000.0) if silent else QUICK)


@pytest.mark.parametrize("direct", [False, True])
def test_ranges_are_the_bytes_of_the_file(serve: Serve, link: Link, direct: bool) -> None:
    hub = serve({NAME: CONTENT}, direct=direct)
    file = opened(hub, link)
    assert file.beginning == CONTENT[:8] and file.version.size == len(CONTENT)
    assert read(file) == CONTENT[1000:300_000]
    assert read(file, 5, 5) == b""
    assert hub.ranges("hub" if direct else "storage") == ["bytes=0-7", "bytes=1000-299999"]
    assert link.traffic.received == 8 + 299_000
    assert opened(hub, link, first=10**6).beginning == CONTENT


def test_the_hub_is_asked_for_the_address_once_and_the_token_is_shown_to_it_alone(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT})
    file = opened(hub, link)
    for start in range(0, 5000, 1000):
        read(file, start, start + 500)
    asked = [request for request in hub.requests if request.host == "hub"]
    assert [request.authorization for request in asked] == ["Bearer hf_secret"]
    assert {request.authorization for request in hub.requests if request.host == "storage"} == {""}


@pytest.mark.parametrize(
    "fault", ["drop", "hang up", "503", "500", "408", "429 0", "fewer", "other", "lie less", "lie more",
              "chunked more", "chunked fewer", "silence", "drip"],
)  # fmt: skip
def test_what_passes_is_got_over(serve: Serve, fault: str) -> None:
    hub = serve({NAME: CONTENT}, faults=[fault, fault], skip=1)
    link = hasty(fault)
    assert read(opened(hub, link)) == CONTENT[1000:300_000]
    assert hub.faults == []


def test_a_dropped_connection_goes_on_with_the_byte_after_the_last(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT}, faults=["drop"], skip=1)
    assert read(opened(hub, link)) == CONTENT[1000:300_000]
    assert hub.ranges() == ["bytes=0-7", "bytes=1000-299999", "bytes=150500-299999"]


def test_connections_that_drop_again_and_again_are_no_failure_while_bytes_come(serve: Serve, link: Link) -> None:
    content = CONTENT * 60  # each half is more than what counts as progress for a while
    hub = serve({NAME: content}, faults=["drop"] * (QUICK.tries + 2), skip=1)
    assert read(opened(hub, link), 0, len(content)) == content
    assert hub.faults == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "503",
            "got status 503 Service Unavailable from .*/blobs/model.safetensors, 4 times. Finished layers are kept",
        ),
        ("hang up", "got RemoteProtocolError: Server disconnected .*4 times"),
        ("silence", "got ReadTimeout: .*4 times"),
        ("429 0", "got status 429 Too Many Requests .*4 times"),
        ("429 3600", "to be sent again in 3,600 s. Finished layers are kept: run the same command again to continue"),
        ("429 Fri, 31 Dec 2049 23:59:59 GMT", "to be sent again in [0-9,]+ s"),
        ("whole", "expected 206 Partial Content, got 200 and the whole file: this server does not send ranges"),
        ("etag", "expected the file that was opened, it has changed .etag blob-.*, now another"),
        ("size", "expected the file that was opened, it has changed .size 307200, now 307208"),
        ("gzip", "expected the bytes as they are, got them as gzip"),
        ("no range", "expected a Content-Range, got ''"),
        ("418", r"blobs/model.safetensors: expected a file, got status 418 I'm a Teapot \(why it failed\)"),
        ("lie less", "got a Content-Length of 298997 for a range of 299000 bytes, 4 times"),
        ("chunked more", "got more than the [0-9,]+ bytes of the range, 4 times"),
    ],
)
def test_what_does_not_pass_is_one_error(serve: Serve, fault: str, message: str) -> None:
    hub = serve({NAME: CONTENT}, faults=[fault] * 20, skip=1)
    file = opened(hub, hasty(fault))
    with pytest.raises(SourceError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith("http://127.0.0.1") and str(caught.value).endswith(".")
    assert "X-Signature" not in str(caught.value) and "hf_secret" not in str(caught.value)
    asked = len(hub.ranges())
    assert asked <= 2 + QUICK.tries
    with pytest.raises(SourceError, match=message):  # the others need not find out for themselves
        read(file)
    assert len(hub.ranges()) == asked


def test_a_server_that_sends_whole_files_is_refused_before_it_has_sent_one(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT * 200}, faults=["whole"])
    with pytest.raises(SourceError, match="this server does not send ranges"):
        opened(hub, link)
    assert link.traffic.received == 0


def test_a_first_answer_longer_than_asked_for_is_not_read(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT}, faults=["endless"])
    with pytest.raises(SourceError, match="expected at most 8 bytes, got a range that ends at 307200"):
        opened(hub, link)
    assert link.traffic.received == 0 and hub.faults == []


def test_a_wait_that_the_server_asks_for_is_kept_by_all_connections(serve: Serve, link: Link) -> None:
    import time

    hub = serve({NAME: CONTENT}, faults=["429 1"], skip=1)
    file, began = opened(hub, link), time.monotonic()
    first = threading.Thread(target=read, args=(file,))
    first.start()
    wait_until(lambda: len(hub.ranges()) == 2)
    time.sleep(0.05)
    read(file, 0, 100)
    first.join()
    assert time.monotonic() - began > 0.9
    assert hub.ranges()[2:] and len(hub.ranges()) == 4


def test_a_signed_address_that_has_ended_is_asked_for_again(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT})
    file = opened(hub, link)
    hub.expire()
    assert read(file) == CONTENT[1000:300_000]
    assert [request.host for request in hub.requests] == ["hub", "storage", "storage", "hub", "storage"]


def test_addresses_that_are_signed_for_one_range_are_asked_for_each_time(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT}, one_range_each=True)
    file = opened(hub, link)
    for start in (0, 1000, 2000):
        assert read(file, start, start + 10) == CONTENT[start : start + 10]
    assert len([request for request in hub.requests if request.host == "storage"]) == 5  # one of them in vain


def test_a_refusal_that_a_new_address_does_not_mend_is_told_at_once(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT})
    file = opened(hub, link)
    hub.valid = 10**6
    with pytest.raises(Refused, match=r"expected a file, got status 403 Forbidden \(Request has expired\)"):
        read(file)
    assert len(hub.requests) == 5


def test_another_content_behind_the_same_address(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT})
    file = opened(hub, link)
    hub.files[NAME] = CONTENT[::-1]
    hub.expire()
    with pytest.raises(SourceError, match="it has changed .content .*Finished layers are of the earlier version"):
        read(file)


def test_a_file_that_has_become_shorter(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT}, direct=True)
    file = opened(hub, link)
    hub.files[NAME] = CONTENT[:500]
    with pytest.raises(SourceError, match="it has changed .no bytes from 1000 on, where there were 307200"):
        read(file)


def test_another_commit_than_the_one_that_was_named(serve: Serve, link: Link) -> None:
    hub = serve({NAME: CONTENT}, commit="f" * 40)
    with pytest.raises(SourceError, match=f"another .commit {COMMIT}, now ffff"):
        opened(hub, link)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("loop", "got more than 8 redirects"),
        ("to file:///etc/passwd", "expected a redirect to a web address, got 'file:///etc/passwd'"),
        ("to ftp://host/x", "expected a redirect to a web address"),
        ("to http://[", "expected a redirect to a web address"),
    ],
)
def test_redirects_that_lead_nowhere(serve: Serve, link: Link, target: str, message: str) -> None:
    hub = serve({NAME: CONTENT}, hub_faults=[target] * 20)
    with pytest.raises(SourceError, match=message):
        opened(hub, link)
    assert len(hub.requests) <= 8


def test_a_server_out_of_reach_is_given_up_sooner(serve: Serve, link: Link) -> None:
    serve({NAME: CONTENT})
    with pytest.raises(SourceError, match="http://127.0.0.1:9/x: expected an answer, got ConnectError: .*, 2 times"):
        RemoteFile("http://127.0.0.1:9/x?signature=secret", link, first=8)


def test_offline_mode_is_respected(serve: Serve, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serve({NAME: CONTENT})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="offline mode is on. Unset HF_HUB_OFFLINE"):
        opened(hub, link)
    assert hub.requests == []


def test_pieces_come_side_by_side_and_no_more_than_allowed(
    serve: Serve, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "_PIECE", 10_000)
    hub = serve({NAME: CONTENT}, faults=["drop", "503", "fewer"], skip=3)
    assert read(opened(hub, link), 0, len(CONTENT)) == CONTENT
    assert len({span for span in hub.ranges() if span.endswith("9999")}) >= 30


def test_what_fails_in_one_piece_ends_the_others(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_PIECE", 10_000)
    link = Link(connections=4, patience=replace(QUICK, backoff=30.0, longest_backoff=30.0))
    hub = serve({NAME: CONTENT}, faults=["503", "503", "503", "etag"], skip=1)
    with pytest.raises(SourceError, match="it has changed"):
        read(opened(hub, link), 0, len(CONTENT))


def test_only_the_web_is_asked(serve: Serve, link: Link) -> None:
    for url in ("file:///etc/passwd", "ftp://host/model.safetensors"):
        with pytest.raises(CheckpointError):
            RemoteFile(url, link, first=8)
