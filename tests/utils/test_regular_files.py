import os
from pathlib import Path

import pytest

from alpha_callbacks.utils.json_text import parsed_json, read_json
from alpha_callbacks.utils.regular_files import read_regular


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a named pipe, no regular file"),
        (os.mkdir, "a folder, no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "a device, no regular file"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    ],
)
def test_what_has_no_end_is_not_read(make: object, what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    make(path)  # type: ignore[operator]
    with pytest.raises(OSError, match=what) as error:
        read_regular(path)
    assert error.value.filename == str(path)


def test_json_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'{"a": [1, "\xc3\xa9"]}')
    assert read_json(tmp_path / "x.json") == {"a": [1, "é"]}


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000])
def test_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        parsed_json(text)
