"""What fails to write says where: a full disk is met by a `write` that does not know its path."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the errors of the system in a block a path, if they have none.

    Examples:
        >>> with naming(Path("out.csv")):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        OSError: [Errno 28] No space left on device: 'out.csv'
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    except Exception as error:
        code = re.search(r"\(os error (\d+)\)", str(error))  # so say libraries in Rust, such as safetensors
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
