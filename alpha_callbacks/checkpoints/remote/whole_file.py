"""A small file of a model (its config, the index of its shards), fetched as a whole into memory."""

from alpha_callbacks.checkpoints.remote.link import Link
from alpha_callbacks.checkpoints.remote.ranges import Version, version_of
from alpha_callbacks.checkpoints.remote.redirects import Answer, Wrong, shown

_MOST = 100_000_000  # bytes; the index of a model with 60000 experts has 20 million


def fetch(url: str, link: Link, commit: str = "") -> bytes:
    """Return the content of a file.

    Args:
        url: http or https.
        link: sends the request.
        commit: which the hub should say the file is of.

    Raises:
        Refused: the server will not give it.
        SourceError: the server cannot be reached, or the file is too long, or of another commit.
    """
    content = bytearray()

    def take(answer: Answer) -> None:
        if change := Version(commit=commit).change(version_of(answer.headers, 0)):
            raise Wrong(f"expected a file of the commit that the hub has named, got another ({change}). Try again")
        content.clear()
        for chunk in answer.response.iter_bytes():
            content.extend(chunk)
            if len(content) > _MOST:
                raise Wrong(f"expected at most {_MOST:,} bytes, got more")
            link.traffic.add(len(chunk))

    def attempt() -> None:
        with link.send(url, {}, shown(url)) as answer:
            take(answer)

    link.attempts(attempt, lambda: 0, shown(url))
    return bytes(content)
