"""How far the Gram route is from an fp64 SVD, on noise, planted tails and spiked spectra.

    python -m benchmarks.accuracy      # about a minute

For each kind of matrix: the error of alpha by an fp32 and an fp64 Gram matrix, whose eigenvalues torch's LAPACK finds,
and by NumPy's from the fp64 one, as `shortest_way` has it for some sizes; and that error in the units that
`spectrum._Rung.units` is set in. The constants there must be above what is printed wherever the error matters.
"""

import torch
from torch import Tensor

from alpha_callbacks.estimators.hill import hill_alpha
from alpha_callbacks.estimators.hill_error_bound import rounding_spread
from alpha_callbacks.solvers.tridiagonal import Tridiagonal

SHAPES = ((512, 512), (1200, 1200), (2400, 600), (3000, 1000))


def orthogonal(rows: int, cols: int) -> Tensor:
    """Return random orthonormal columns."""
    q: Tensor = torch.linalg.qr(torch.randn(rows, cols, dtype=torch.float64)).Q
    return q


def matrices(rows: int, cols: int) -> dict[str, Tensor]:
    """Return one float64 matrix of each kind."""
    noise = torch.randn(rows, cols, dtype=torch.float64)
    found = {"noise": noise, "uneven columns": noise * torch.rand(cols, dtype=torch.float64) ** -0.3}
    for alpha in (1.5, 2.0, 3.0):
        evals = ((torch.arange(cols, dtype=torch.float64) + 0.5) / cols) ** (-1 / (alpha - 1))
        found[f"Pareto {alpha}"] = orthogonal(rows, cols) * evals.sqrt() @ orthogonal(cols, cols).T
    for spike in (1e2, 1e3, 1e4, 1e5):
        u, v = torch.randn(rows, 1, dtype=torch.float64), torch.randn(1, cols, dtype=torch.float64)
        found[f"spike {spike:.0e}"] = noise + u @ v / (u.norm() * v.norm()) * (1.7 * (spike * rows) ** 0.5)
    return found


def by_numpy(gram: Tensor) -> Tensor:
    """Return all eigenvalues, ascending, by NumPy's LAPACK."""
    return Tridiagonal(gram).values()


def main() -> None:
    """Print a line for each shape and kind."""
    torch.manual_seed(0)
    print(
        "   shape            kind  alpha  lambda ratio     fp32 error  units     fp64 error  units   NumPy error  units"
    )
    for rows, cols in SHAPES:
        for kind, w in matrices(rows, cols).items():
            w, k = w.float().double(), cols // 10  # both routes see the same numbers
            truth = hill_alpha(torch.linalg.svdvals(w) ** 2, k=k).alpha
            line = ""
            for dtype, solve in (
                (torch.float32, torch.linalg.eigvalsh),
                (torch.float64, torch.linalg.eigvalsh),
                (torch.float64, by_numpy),
            ):
                gram = w.to(dtype).T @ w.to(dtype)
                evals = solve(gram).flip(0).double().clamp(min=0)
                error = abs(hill_alpha(evals, k=k).alpha - truth) / truth
                log_sum = float(torch.log(evals[:k] / evals[k]).sum())
                unit = rounding_spread(evals, k, units=1, eps=torch.finfo(dtype).eps) / log_sum
                line += f"  {error:13.1e}  {error / unit:5.3f}"
            print(f"{rows:5}x{cols:<5} {kind:>14} {truth:6.2f} {float(evals[0] / evals[k]):13.1e}{line}")


if __name__ == "__main__":
    main()
