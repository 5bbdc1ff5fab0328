"""NumPy's OpenBLAS: what torch does not reach of BLAS and LAPACK, or does more slowly on a machine of few cores.

NumPy's wheels for Linux bring an OpenBLAS that exports every routine, with 64-bit integers; other builds of NumPy may
not, and then there is none. It is called with one thread, since its threads spin and change last bits; that number is
one for the process, as it is for `threadpoolctl`.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from alpha_callbacks.errors import SolverError

_TURN = threading.Lock()
_users: list[int] = []  # of the one thread: what was set before the first of them came


class _OpenBlas:
    """The routines of one library, under the names of its build."""

    def __init__(self, library: ctypes.CDLL, prefix: str) -> None:
        self.reduce = getattr(library, f"{prefix}dsytrd_64_")
        self.values = getattr(library, f"{prefix}dsterf_64_")
        self.vectors = getattr(library, f"{prefix}dstemr_64_")
        self.rotate = getattr(library, f"{prefix}dormtr_64_")
        self.reduce_single = getattr(library, f"{prefix}ssytrd_64_")
        self.counts = getattr(library, f"{prefix}dlaebz_64_")
        self.add_products = getattr(library, f"{prefix}dsyrk_64_")
        self.get_threads = getattr(library, f"{prefix}openblas_get_num_threads64_")
        self.set_threads = getattr(library, f"{prefix}openblas_set_num_threads64_")


@cache
def _openblas() -> _OpenBlas | None:
    """Return NumPy's OpenBLAS, None where its build hides it."""
    try:
        import numpy.linalg._umath_linalg as linked

        library = ctypes.CDLL(linked.__file__)
    except (ImportError, OSError):
        return None
    for prefix in ("scipy_", ""):  # NumPy 2, NumPy 1
        try:
            return _OpenBlas(library, prefix)
        except AttributeError:
            continue
    return None


def available() -> bool:
    """Return True if `call` can be used."""
    return _openblas() is not None


def call(name: str, *arguments: str | int | float | Tensor) -> None:
    """Call a routine of LAPACK; its last argument, `info`, is added here.

    Raises:
        SolverError: `info` is not 0.
    """
    info = ctypes.c_int64(0)
    _call(name, arguments, [ctypes.byref(info)])
    if info.value:
        raise SolverError(f"LAPACK, {name}: expected info = 0, got {info.value}")


@dataclass(frozen=True)
class Lines:
    """How the entries of a matrix lie in memory: side by side in lines, which begin `step` entries apart."""

    along_columns: bool
    step: int


def lines(matrix: Tensor) -> Lines | None:
    """Return how a matrix lies in memory; None where BLAS cannot read it.

    BLAS prints a line and does nothing where lines overlap, as by their strides those of one row may: (1, 1).
    """
    rows, columns = matrix.shape
    if matrix.stride(1) == 1 and matrix.stride(0) >= max(columns, 1):
        return Lines(False, matrix.stride(0))
    if matrix.stride(0) == 1 and matrix.stride(1) >= max(rows, 1):
        return Lines(True, matrix.stride(1))
    return None


def add_products(block: Tensor, gram: Tensor) -> None:
    """Add block^T block to the lower triangle of gram, with its diagonal; what is above stays.

    Args:
        block: shape (b, n), float64, on the CPU, in `lines`.
        gram: shape (n, n), float64, on the CPU, in `lines`.
    """
    # BLAS reads along columns: what is along rows is the transpose to it.
    block_lines, gram_lines = lines(block), lines(gram)
    assert block_lines is not None and gram_lines is not None
    triangle = "L" if gram_lines.along_columns else "U"
    form = "T" if block_lines.along_columns else "N"
    sizes = (block.shape[1], block.shape[0])
    _call("add_products", (triangle, form, *sizes, 1.0, block, block_lines.step, 1.0, gram, gram_lines.step), [])


def _call(name: str, arguments: tuple[str | int | float | Tensor, ...], after: list[object]) -> None:
    """Call a routine with pointers to these arguments and what comes after them; the lengths of texts are added."""
    library = _openblas()
    assert library is not None
    passed: list[object] = []
    for value in arguments:
        if isinstance(value, Tensor):
            passed.append(ctypes.c_void_p(value.data_ptr()))
        elif isinstance(value, str):
            passed.append(ctypes.c_char_p(value.encode()))
        else:
            passed.append(ctypes.byref(ctypes.c_int64(value) if isinstance(value, int) else ctypes.c_double(value)))
    lengths = [ctypes.c_size_t(1) for value in arguments if isinstance(value, str)]
    with _one_thread(library):
        getattr(library, name)(*passed, *after, *lengths)


@contextmanager
def _one_thread(library: _OpenBlas) -> Iterator[None]:
    """Let OpenBLAS have one thread while any solve is in the body; the last to leave puts the number back."""
    with _TURN:
        before = library.get_threads()
        _users.append(_users[0] if _users else before)
        if before != 1:
            library.set_threads(ctypes.c_int(1))
    try:
        yield
    finally:
        with _TURN:
            before = _users.pop()
            if not _users and before != 1:
                library.set_threads(ctypes.c_int(before))


def _in_forked_process() -> None:
    """Put back what threads of the parent process would have put back: a forked process does not have them."""
    if _users and (library := _openblas()) is not None:
        library.set_threads(ctypes.c_int(_users[0]))
    _users.clear()
    _TURN.release()


if hasattr(os, "register_at_fork"):  # a lock that another thread holds at a fork would never be free in the new process
    os.register_at_fork(before=_TURN.acquire, after_in_parent=_TURN.release, after_in_child=_in_forked_process)
