"""Numeric precisions: name -> round trip. The registry is open, see `register` and `Family`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from alpha_callbacks.errors import OptionError
from alpha_callbacks.precisions.families import FAMILIES
from alpha_callbacks.precisions.precision import Family, Precision
from alpha_callbacks.utils import plugins

if TYPE_CHECKING:
    import torch

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
    """Return our own families and those of the plugins in the group `precisions`, all of which are imported.

    A plugin that cannot be imported, is no `Family`, or claims a name that is taken is left out, with a warning.
    """
    found = list(FAMILIES)
    for name, family in plugins.load_all("precisions"):
        if not isinstance(family, Family):
            plugins.leave_out("precisions", name, f"expected a Family, got {type(family).__name__}.")
            continue
        taken = {*_REGISTRY, *(alias for other in found for alias in _names(other))}.intersection(_names(family))
        if taken:
            plugins.leave_out("precisions", name, f"the name {min(taken)} is taken.")
        else:
            found.append(family)
    return tuple(found)


def get_precision(name: str) -> Precision:
    """Return the format of this name or alias, with options if it has any ("int4:g128").

    Raises:
        OptionError: unknown name or option.
    """
    wanted = name.strip().lower().replace(":", "_")
    if wanted in _REGISTRY:
        return _REGISTRY[wanted]
    try:
        found = _of_a_family(wanted)
    except OptionError as error:
        raise OptionError(f"precision {name!r}: {error}") from None
    if found is not None:
        return found
    known = [*dict.fromkeys(p.name for p in _REGISTRY.values()), *(family.name for family in families())]
    near = get_close_matches(wanted, [*_REGISTRY, *(alias for family in families() for alias in _names(family))], n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise OptionError(
        f"precision: expected one of {', '.join(known)}, got {name!r}.{meant} See `alpha-hill precisions`."
    )


@lru_cache(maxsize=256)
def _of_a_family(wanted: str) -> Precision | None:
    """Return a member of a family; None where no name fits. All plugins are imported only if no likely family fits."""
    refused: OptionError | None = None
    for candidates in (_likely, lambda wanted: families()):
        # The longest name first, so that fp8_e4m3 is not taken for fp8 with an option.
        pairs = [(alias, family) for family in candidates(wanted) for alias in _names(family) if _fits(wanted, alias)]
        for alias, family in sorted(pairs, key=lambda pair: -len(pair[0]))[:1]:
            options = wanted.removeprefix(alias).removeprefix("_")
            try:
                return _member(family, options)
            except OptionError as error:
                refused = error
    if refused is not None:
        raise refused
    return None


@lru_cache(maxsize=256)
def _member(family: Family, options: str) -> Precision:
    return family.make(options.split("_") if options else [])


def _likely(wanted: str) -> Sequence[Family]:
    """Return the built-in families, and those of plugins whose name fits better than any built-in one."""
    ours = max((len(alias) for family in FAMILIES for alias in _names(family) if _fits(wanted, alias)), default=0)
    fitting = [name for name in plugins.names("precisions") if _fits(wanted, name.lower()) and len(name) > ours]
    loaded = [plugins.load("precisions", name) for name in fitting]
    return [*FAMILIES, *(family for family in loaded if isinstance(family, Family))]


def _fits(wanted: str, alias: str) -> bool:
    return wanted == alias or wanted.startswith(f"{alias}_")


def _names(family: Family) -> tuple[str, ...]:
    return (family.name, *family.aliases)


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype that is this precision.

    Raises:
        OptionError: unknown, or a format that is no torch dtype.
    """
    dtype = get_precision(name).dtype
    if dtype is None:
        raise OptionError(f"load_dtype: expected fp64, fp32, fp16 or bf16, got {name!r}, which is no torch dtype.")
    return dtype


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


def _register_dtype(name: str, torch_name: str, alias: str, bits: int, mantissa: int) -> None:
    def round_trip(rows: torch.Tensor, largest: float) -> torch.Tensor:
        return rows.to(dtype_of(name))

    aliases = (torch_name, alias) if alias else (torch_name,)
    register(Precision(name, aliases, bits, 2.0**-mantissa, round_trip, torch_name, same_as="torch"))


_register_dtype("fp64", "float64", "double", 64, 52)
_register_dtype("fp32", "float32", "float", 32, 23)
_register_dtype("fp16", "float16", "half", 16, 10)
_register_dtype("bf16", "bfloat16", "", 16, 7)
