"""Fixtures: huggingface_hub as it is with a fresh environment, whose endpoint is the stand-in."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import huggingface_hub.constants
import pytest

from alpha_callbacks.checkpoints.remote.link import Link, Patience
from tests.support.stand_in_hub import StandIn, stand_in

QUICK = Patience(tries=4, first_tries=2, backoff=0.002, longest_backoff=0.01, longest_wait=2.0, timeout=20.0)

Serve = Callable[..., StandIn]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return what starts a stand-in and makes it the endpoint of huggingface_hub."""
    with ExitStack() as stack:

        def start(files: dict[str, bytes], **options: Any) -> StandIn:
            hub = stack.enter_context(stand_in(files, **options))
            template = hub.hub_url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.hub_url)
            monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
            monkeypatch.setenv("HF_TOKEN", "hf_secret")
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.delenv(name, raising=False)
            return hub

        yield start


@pytest.fixture
def link() -> Iterator[Link]:
    """A link that waits for milliseconds where others wait for seconds."""
    made = Link(connections=4, patience=QUICK)
    yield made
    made.close()
