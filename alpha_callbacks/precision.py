"""Numeric precisions: name -> round trip. The registry is open, see `register`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.errors import OptionError


@dataclass(frozen=True)
class Precision:
    """A numeric format that weights can be passed through.

    Attributes:
        name: canonical name, used in CSV columns and file names.
        aliases: other names accepted on input.
        bits: effective bits a weight.
        eps: relative spacing of its numbers (2^-23 for fp32); None where the format has no fixed one.
        round_trip: whole rows in, shape (r, in_features), the same values after the format, in any dtype that
            holds them exactly.
        dtype: the torch dtype that is this format, if there is one.
    """

    name: str
    aliases: tuple[str, ...]
    bits: float
    eps: float | None
    round_trip: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None = None

    def holds(self, dtype: torch.dtype) -> bool:
        """Return True if every number of `dtype` is a number of this format, so that no data need be looked at."""
        return self.dtype is not None and _is_subset(dtype, self.dtype)


_REGISTRY: dict[str, Precision] = {}


def register(precision: Precision) -> None:
    """Add a format; its name and aliases become valid in `precisions=...`.

    Raises:
        OptionError: a name is taken.
    """
    for name in (precision.name, *precision.aliases):
        if name in _REGISTRY:
            raise OptionError(f"precision {name!r}: expected a new name, it belongs to {_REGISTRY[name].name!r}.")
    for name in (precision.name, *precision.aliases):
        _REGISTRY[name] = precision


def get_precision(name: str) -> Precision:
    """Return the format of this name or alias.

    Raises:
        OptionError: unknown name.
    """
    try:
        return _REGISTRY[name.strip().lower()]
    except KeyError:
        known = ", ".join(dict.fromkeys(p.name for p in _REGISTRY.values()))
        raise OptionError(f"precision: expected one of {known}, got {name!r}.") from None


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype that is this precision.

    Raises:
        OptionError: unknown, or a format that is no torch dtype.
    """
    precision = get_precision(name)
    if precision.dtype is None:
        raise OptionError(f"load_dtype: expected fp64, fp32, fp16 or bf16, got {name!r}, which is no torch dtype.")
    return precision.dtype


def parse_precisions(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return canonical names in the order asked, from "fp32,bf16" or a sequence.

    Raises:
        OptionError: empty, unknown or given twice.
    """
    parts = names.split(",") if isinstance(names, str) else list(names)
    if odd := [part for part in parts if not isinstance(part, str)]:
        raise OptionError(f"precisions: expected names such as fp32, got {odd[0]!r}.")
    canonical = [get_precision(part).name for part in parts if part.strip()]
    if not canonical:
        raise OptionError("precisions: expected at least one name, got none. For example: fp32,fp16,bf16.")
    for name in canonical:
        if canonical.count(name) > 1:
            raise OptionError(f"precisions: expected each once, got {name!r} twice (an alias counts).")
    return tuple(canonical)


def _is_subset(small: torch.dtype, large: torch.dtype) -> bool:
    """Return True if every finite number of float format `small`, subnormals too, is one of `large`."""
    if not (small.is_floating_point and large.is_floating_point):
        return False
    a, b = torch.finfo(small), torch.finfo(large)
    return a.eps >= b.eps and a.max <= b.max and a.tiny * a.eps >= b.tiny * b.eps


def _register_dtype(name: str, aliases: tuple[str, ...], dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    register(Precision(name, aliases, info.bits, info.eps, lambda rows: rows.to(dtype), dtype))


_register_dtype("fp64", ("float64", "double"), torch.float64)
_register_dtype("fp32", ("float32", "float"), torch.float32)
_register_dtype("fp16", ("float16", "half"), torch.float16)
_register_dtype("bf16", ("bfloat16",), torch.bfloat16)
