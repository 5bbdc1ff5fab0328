"""The way to the eigenvalues that takes the least time on this machine; values differ by rounding."""

from alpha_callbacks.solvers.numpy_blas import available
from alpha_callbacks.utils.machine import machine_cores

# Of the machine, not of the workers: 16 matrices side by side on 16 cores take 1.6 to 11 times as long by `fast`, whose
# many small steps wait for Python's lock, and 0.9 to 3 times by NumPy's LAPACK up to 1024 eigenvalues.
_FEW = 4
_SMALL, _LARGE = 384, 1024  # eigenvalues that NumPy's LAPACK finds sooner than torch's, on few cores
_NARROW = 128  # columns below which the call takes longer than the products
_MANY = 1025  # from which on fp32 and its proof take less time than fp64, on few cores


def few_cores() -> bool:
    """Return True on a machine where the workers' calls into NumPy's LAPACK do not wait for one another."""
    return machine_cores() <= _FEW


def values_by_numpy(n: int) -> bool:
    """Return True if NumPy's LAPACK finds n eigenvalues without vectors sooner than torch's, on the CPU.

    It took 0.57 to 0.91 of the time on 2 cores of Zen 3, 0.87 to 0.95 on one of an Intel processor with AVX-512; for
    1280 to 1536 0.78 to 0.90 on the first and 1.3 to 1.9 on the second (`python -m benchmarks.lapacks`).
    """
    return _SMALL <= n <= _LARGE and few_cores() and available()


def products_by_numpy(n: int) -> bool:
    """Return True if NumPy's BLAS forms the Gram matrix of n columns sooner than torch's, on the CPU.

    It has a routine for symmetric products, which took 0.47 to 0.86 of the time of halving on 2 cores of an AMD EPYC
    with AVX-512 (`python -m benchmarks.lapacks --products`); not measured on more than four cores.
    """
    return n >= _NARROW and few_cores() and available()


def single_and_proof(n: int) -> bool:
    """Return True if `fast` finds n eigenvalues sooner in fp32, with a proof, than in fp64, on the CPU."""
    return n >= _MANY and few_cores() and available()
