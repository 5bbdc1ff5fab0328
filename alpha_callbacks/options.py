"""What to compute: one frozen record, checked once."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Literal, get_args

from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.all_estimators import ESTIMATORS, NAMES
from alpha_callbacks.estimators.estimator import Estimator
from alpha_callbacks.estimators.hill import Threshold
from alpha_callbacks.precisions.registry import dtype_of, get_precision, parse_precisions
from alpha_callbacks.solvers.solver import Solver
from alpha_callbacks.utils.whole_numbers import is_index

Adapters = Literal["auto", "base", "merged"]
MEASURES = ("norms", "bulk", "entries", "spacings", "traps")

_TYPES: tuple[tuple[str, type | UnionType, str], ...] = (
    ("k_frac", float | int, "a number"),
    ("k_min", int, "a whole number"),
    ("reuse_tol", float | int, "a number"),
    ("include", str | None, "a regular expression"),
    ("exclude", str | None, "a regular expression"),
    ("include_embeddings", bool, "true or false"),
)


@dataclass(frozen=True)
class AnalysisOptions:
    """Everything that decides a number. Two runs with equal options and equal weights give equal rows.

    Attributes:
        precisions: names from the registry, in the order of the columns.
        k_frac: share of the spectrum taken as its tail, 0 < k_frac < 1.
        k_min: smallest tail.
        threshold: "next" divides by eigenvalue k + 1, "last" by eigenvalue k.
        solver: "exact" (fp64) or "fast" (large matrices in fp32, alpha proved to 2e-4 of itself; the same as "exact" on
            more than four cores and on CUDA).
        reuse_tol: a proved bound on the relative change of alpha below this spares a decomposition; 0: never spared.
        include: regex searched in layer names; only matches are analysed.
        exclude: regex searched in layer names; matches are left out.
        include_embeddings: analyse embedding tables too.
        adapters: of a live model under PEFT: "auto" analyses what moves, each adapted layer with its adapter and the
            update alone; "base" all weights without the adapters; "merged" all weights with them.
        estimators: fits of the tail, in the order of the rows of tail_estimates.csv: "hill", which alpha is always made
            by, and any of "csn", "tpl", "half", "quantile_k", "farms" beside it; see docs/estimators.md.
        measures: groups of spectral measures, in spectral_measures.csv: "norms", "bulk", "entries",
            "spacings", "traps".
        load_dtype: cast weights to this precision before anything else; None keeps them as stored.
        device: torch device that computes ("cpu", "cuda", "cuda:1").

    Raises:
        OptionError: a value that cannot be used.
    """

    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    k_frac: float = 0.1
    k_min: int = 10
    threshold: Threshold = "next"
    solver: Solver = "exact"
    reuse_tol: float = 1e-5
    include: str | None = None
    exclude: str | None = None
    include_embeddings: bool = False
    adapters: Adapters = "auto"
    estimators: tuple[str, ...] = ("hill",)
    measures: tuple[str, ...] = ()
    load_dtype: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check every field and put the names of precisions into canonical form."""
        for name, kinds, words in _TYPES:
            if not isinstance(value := getattr(self, name), kinds) or isinstance(value, bool) and kinds is not bool:
                raise OptionError(f"{name}: expected {words}, got {value!r}.")
        object.__setattr__(self, "precisions", parse_precisions(self.precisions))
        if self.load_dtype is not None:
            dtype_of(self.load_dtype)
            object.__setattr__(self, "load_dtype", get_precision(self.load_dtype).name)
        if not 0 < self.k_frac < 1:
            raise OptionError(f"k_frac: expected a share between 0 and 1, got {self.k_frac}. The usual value is 0.1.")
        if self.k_min < 1:
            raise OptionError(f"k_min: expected at least 1, got {self.k_min}. The usual value is 10.")
        if not 0 <= self.reuse_tol <= 1:
            raise OptionError(f"reuse_tol: expected 0 to 1, got {self.reuse_tol}. 0 recomputes every precision.")
        _check_choice("threshold", self.threshold, get_args(Threshold))
        _check_choice("adapters", self.adapters, get_args(Adapters))
        _check_choice("solver", self.solver, get_args(Solver))
        for name, known in (("estimators", NAMES), ("measures", MEASURES)):
            object.__setattr__(self, name, _names(name, getattr(self, name), known))
        for name in ("include", "exclude"):
            _check_regex(name, getattr(self, name))

    @property
    def estimator(self) -> Estimator:
        """What the tails are fitted with."""
        return ESTIMATORS["hill"](self.k_frac, self.k_min, self.threshold)

    def selects(self, layer_name: str, source_name: str = "") -> bool:
        """Return True if include and exclude let this layer through; either of its names may match."""
        if self.include is None and self.exclude is None:
            return True
        names = [name for name in (layer_name, source_name) if name]
        if self.include is not None and not any(re.search(self.include, name) for name in names):
            return False
        return self.exclude is None or not any(re.search(self.exclude, name) for name in names)


def _names(option: str, given: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return names, each once, from a list or from text with commas; "all" means every one."""
    if not isinstance(given, str | Sequence):
        raise OptionError(f"{option}: expected a list of names, got {given!r}.")
    listed = given.split(",") if isinstance(given, str) else given
    names = [str(name).strip() for name in listed if str(name).strip()]
    for name in names:
        if name not in (*known, "all"):
            raise OptionError(f"{option}: expected any of {', '.join(known)}, or all, got {name!r}.")
    return tuple(dict.fromkeys(known if "all" in names else names))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name}: expected one of {', '.join(choices)}, got {value!r}.")


def _check_regex(name: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise OptionError(f"{name}: expected a regular expression, got {pattern!r} ({error}).") from error


def pick_device(name: str) -> str:
    """Return the torch device for "cpu", "cuda", "cuda:1" or "auto" (CUDA where there is one).

    Raises:
        OptionError: unknown, or not on this machine.
    """
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cuda" and count and "LOCAL_RANK" in os.environ:  # torchrun: each rank its own
        name = f"cuda:{int(os.environ['LOCAL_RANK']) % count}"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or not (index == "" or is_index(index)):
        raise OptionError(f"device: expected cpu, cuda, cuda:<n> or auto, got {name!r}.")
    if kind == "cuda" and int(index or 0) >= count:
        there = f"one of the {count} CUDA devices of this machine" if count else "cpu, for torch sees no CUDA device"
        raise OptionError(
            f"device: expected {there}, got {name!r}. Use --device cpu, or auto for CUDA where there is one."
        )
    return name
