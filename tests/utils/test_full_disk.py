from pathlib import Path

import pytest

from alpha_callbacks.utils.full_disk import naming


def test_errors_of_libraries_in_rust_are_those_of_the_system() -> None:
    with pytest.raises(OSError, match=r"No space left on device: 'model'"), naming(Path("model")):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="else"), naming(Path("model")):
        raise RuntimeError("something else")


def test_an_error_that_has_a_path_keeps_it() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), naming(Path("model")):
        Path("nowhere").read_bytes()
