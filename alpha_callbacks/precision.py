"""Numeric precisions: name -> round trip. The registry is open, see `register` and `Family`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import entry_points

import torch
from torch import Tensor

from alpha_callbacks.errors import OptionError

RoundTrip = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Storage:
    """What a weight costs on disk, scales and zero points included.

    Attributes:
        code: bits of one weight.
        scale: bits that a block adds (its scale, its zero point).
        block: weights along a row that share a scale; None: the whole row.
        rows: rows that share a scale; None: all of them.
        tensor: bits that the whole matrix adds.
    """

    code: float
    scale: float = 0
    block: int | None = None
    rows: int | None = 1
    tensor: float = 0

    def bits_per_weight(self, out_features: int, in_features: int) -> float:
        """Return the effective bits of one weight of a matrix of this shape."""
        if not out_features * in_features:
            return self.code
        along = math.ceil(in_features / (self.block or in_features))
        down = math.ceil(out_features / (self.rows or out_features))
        return self.code + (self.scale * along * down + self.tensor) / (out_features * in_features)


@dataclass(frozen=True)
class Precision:
    """A numeric format that weights can be passed through.

    Attributes:
        name: canonical name, used in CSV columns and file names.
        aliases: other names accepted on input.
        bits: bits of one code, without scales.
        eps: relative spacing of its numbers (2^-23 for fp32); None where the format has no fixed one.
        round_trip: whole rows in, shape (r, in_features), and the largest |w| of the whole matrix, for formats with a
            scale a tensor; out come the same values after the format, in any dtype that holds them exactly.
        dtype: the torch dtype that is this format, if there is one.
        storage: what a weight costs; default `bits` and nothing else.
        row_multiple: `round_trip` needs blocks that begin at a multiple of so many rows.
        column_multiple: it cannot store rows whose length is no multiple of this.
        saturates_at: where there is no scale, the largest number, which takes the place of all that is larger.
        same_as: the implementation that the tests hold it to, bit for bit.
        source: the specification.
    """

    name: str
    aliases: tuple[str, ...]
    bits: float
    eps: float | None
    round_trip: RoundTrip
    dtype: torch.dtype | None = None
    storage: Storage | None = None
    row_multiple: int = 1
    column_multiple: int = 1
    saturates_at: float = math.inf
    same_as: str = ""
    source: str = ""

    @property
    def low_bit(self) -> bool:
        """True if it is coarser than the 16-bit floats, so that a quantizer is needed to store it."""
        return self.bits < 16

    def effective_bits(self, out_features: int, in_features: int) -> float:
        """Return the bits of one weight of a matrix of this shape, scales included."""
        return (self.storage or Storage(self.bits)).bits_per_weight(out_features, in_features)

    def holds(self, dtype: torch.dtype) -> bool:
        """Return True if every number of `dtype` is a number of this format, so that no data need be looked at."""
        return self.dtype is not None and _is_subset(dtype, self.dtype)


@dataclass(frozen=True)
class Family:
    """Formats that differ in options: `name:option:option`, with ":" or "_" between.

    Attributes:
        name: what all their names begin with.
        aliases: other names for it.
        make: options -> format, whose name is canonical.
        options: the options in words, for messages and help.
        examples: options of the members that tables list, the default first; none where its package is absent.
        extra: the extra of this package that brings what it needs.
    """

    name: str
    aliases: tuple[str, ...]
    make: Callable[[Sequence[str]], Precision]
    options: str
    examples: tuple[tuple[str, ...], ...] = field(default=((),))
    extra: str = ""


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


def all_precisions() -> list[tuple[Precision, Family | None]]:
    """Return every format with a name of its own, and the examples of each family."""
    fixed = [(precision, None) for precision in dict.fromkeys(_REGISTRY.values())]
    return [*fixed, *((family.make(options), family) for family in families() for options in family.examples)]


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """Return our own families and those of the entry point `alpha_callbacks.precisions`."""
    from alpha_callbacks.formats.families import FAMILIES

    return (*FAMILIES, *(point.load() for point in entry_points(group="alpha_callbacks.precisions")))


def get_precision(name: str) -> Precision:
    """Return the format of this name or alias, with options if it has any ("int4:g128").

    Raises:
        OptionError: unknown name or option.
    """
    wanted = name.strip().lower().replace(":", "_")
    if wanted in _REGISTRY:
        return _REGISTRY[wanted]
    for alias, family in _by_length():
        if wanted == alias or wanted.startswith(f"{alias}_"):
            options = wanted.removeprefix(alias).removeprefix("_")
            try:
                return _member(family, options)
            except OptionError as error:
                raise OptionError(f"precision {name!r}: {error}") from None
    known = [*dict.fromkeys(p.name for p in _REGISTRY.values()), *(family.name for family in families())]
    near = get_close_matches(wanted, [*_REGISTRY, *(alias for alias, _ in _by_length())], n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise OptionError(
        f"precision: expected one of {', '.join(known)}, got {name!r}.{meant} See `alpha-hill precisions`."
    )


@lru_cache(maxsize=256)
def _member(family: Family, options: str) -> Precision:
    return family.make(options.split("_") if options else [])


@lru_cache(maxsize=1)
def _by_length() -> tuple[tuple[str, Family], ...]:
    """Return (alias, family), the longest first, so that fp8_e4m3 is not taken for fp8 with an option."""
    pairs = [(alias, family) for family in families() for alias in (family.name, *family.aliases)]
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


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
    register(
        Precision(name, aliases, info.bits, info.eps, lambda rows, largest: rows.to(dtype), dtype, same_as="torch")
    )


_register_dtype("fp64", ("float64", "double"), torch.float64)
_register_dtype("fp32", ("float32", "float"), torch.float32)
_register_dtype("fp16", ("float16", "half"), torch.float16)
_register_dtype("bf16", ("bfloat16",), torch.bfloat16)
