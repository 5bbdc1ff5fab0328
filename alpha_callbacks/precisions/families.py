"""The low-bit formats by name: what their options mean, how they encode a weight and which reference they match."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from alpha_callbacks.errors import OptionError
from alpha_callbacks.precisions.encoding import Encoding, Scale
from alpha_callbacks.precisions.microscaling import MX_BLOCK, NVFP4_BLOCK, ScaleRule, mx, nvfp4
from alpha_callbacks.precisions.minifloat import E2M1, E2M3, E3M2, E4M3, E5M2, Minifloat
from alpha_callbacks.precisions.normal_float import nf4
from alpha_callbacks.precisions.precision import Family, Precision, RoundTrip, Storage
from alpha_callbacks.precisions.scaled import Scope, asymmetric_integer, scaled_float, symmetric_integer

# Bits of one scale. Checkpoints keep real scales in bf16 or fp16; those of MX are powers of two in 8 bits.
_SCALE_BITS: dict[Scale, int] = {"real": 16, "fp32": 32, "floor": 8, "even": 8, "rceil": 8, "e4m3": 8}
_TENSOR_SCALE_BITS = 32  # of the scale above the e4m3 scales of NVFP4
_TILE = 128  # DeepSeek's FP8

_CHANNEL, _TENSOR, _NONE = Scope("channel"), Scope("tensor"), Scope("none")
_SCOPES = {"channel": _CHANNEL, "tensor": _TENSOR}
_MX_SOURCE = "OCP MX 1.0"


def _integer(options: Sequence[str], *, bits: int, default: Scope) -> Precision:
    words = "g<size> (weights per scale), channel, tensor, asym"
    rest = _Options(options, words)
    asymmetric = rest.take("asym")
    scope = rest.scope(_SCOPES) or default
    rest.end()
    if asymmetric and scope is _TENSOR:
        raise OptionError("expected asym with g<size> or channel, got it with tensor.")
    suffix = _suffix(scope, hidden=_CHANNEL if default is _CHANNEL else None) + "_asym" * asymmetric
    make = asymmetric_integer if asymmetric else symmetric_integer
    return _encoded(
        f"int{bits}{suffix}",
        Encoding("int", bits, scope.sharing, scope.size, symmetric=not asymmetric),
        make(bits, scope),
        same_as="compressed-tensors",
        source=f"integers, scale by {'range' if asymmetric else 'absmax'}",
    )


def _float(options: Sequence[str], *, prefix: str, element: Minifloat, default: Scope, same_as: str) -> Precision:
    words = "none (no scale), tensor, channel, block128, g<size>"
    rest = _Options(options, words)
    named = {**_SCOPES, "none": _NONE, f"block{_TILE}": Scope("tile", _TILE)}
    scope = rest.scope(named) or default
    rest.end()
    hidden = default if default.sharing == "channel" else None
    scale: Scale = "none" if scope is _NONE else "real"
    return _encoded(
        f"{prefix}{_suffix(scope, hidden=hidden)}",
        Encoding(element.name, element.bits, scope.sharing, scope.size, scale=scale),
        scaled_float(element, scope),
        saturates_at=element.largest if scope is _NONE else math.inf,
        same_as=same_as,
        source="OCP OFP8 1.0" if element.bits == 8 else "e2m1 of MX with a real scale",
    )


def _mx(options: Sequence[str], *, name: str, element: Minifloat, default: ScaleRule) -> Precision:
    rest = _Options(options, "floor, even, rceil (the rule for a block's power of two)")
    chosen: list[ScaleRule] = [rule for rule in ("floor", "even", "rceil") if rest.take(rule)]
    rest.end()
    if len(chosen) > 1:
        raise OptionError(f"expected one scale rule, got {' and '.join(chosen)}.")
    rule = chosen[0] if chosen else default
    return _encoded(
        name if rule == default else f"{name}_{rule}",
        Encoding(element.name, element.bits, "group", MX_BLOCK, scale=rule),
        mx(element, rule),
        same_as="torchao",
        source=f"{_MX_SOURCE}, {rule} scale",
    )


def _nvfp4(options: Sequence[str]) -> Precision:
    _Options(options, "").end()
    encoding = Encoding(E2M1.name, E2M1.bits, "group", NVFP4_BLOCK, scale="e4m3")
    return _encoded("nvfp4", encoding, nvfp4, same_as="torchao", source="NVIDIA NVFP4, two levels of scale")


def _nf4(options: Sequence[str]) -> Precision:
    rest = _Options(options, "b<size> (weights per scale)")
    size = rest.number("b") or 64
    rest.end()
    return _encoded(
        "nf4" if size == 64 else f"nf4_b{size}",
        Encoding("nf4", 4, "group", size, scale="fp32"),
        nf4(size),
        same_as="bitsandbytes",
        source="QLoRA, appendix E, fp32 absmax",
    )


def _encoded(
    name: str,
    encoding: Encoding,
    round_trip: RoundTrip,
    *,
    same_as: str,
    source: str,
    saturates_at: float = math.inf,
) -> Precision:
    """Return a precision whose bits, storage and row multiple follow from its encoding."""
    return Precision(
        name=name,
        aliases=(),
        bits=encoding.bits,
        eps=None,
        round_trip=round_trip,
        storage=_storage(encoding),
        encoding=encoding,
        row_multiple=encoding.size if encoding.sharing == "tile" else 1,
        saturates_at=saturates_at,
        same_as=same_as,
        source=source,
    )


def _storage(encoding: Encoding) -> Storage:
    if encoding.sharing == "none":
        return Storage(encoding.bits)
    scale = _SCALE_BITS[encoding.scale] + (0 if encoding.symmetric else encoding.bits)
    if encoding.sharing == "tensor":
        return Storage(encoding.bits, tensor=scale)
    return Storage(
        encoding.bits,
        scale,
        block=encoding.size or None,
        rows=encoding.size if encoding.sharing == "tile" else 1,
        tensor=_TENSOR_SCALE_BITS if encoding.scale == "e4m3" else 0,
    )


@dataclass
class _Options:
    """Takes known options from a list; whatever remains at the end is an error."""

    left: Sequence[str]
    words: str

    def take(self, word: str) -> bool:
        found = word in self.left
        self.left = [option for option in self.left if option != word]
        return found

    def number(self, letter: str) -> int | None:
        """Return n of the option <letter><n>."""
        for option in self.left:
            if (match := re.fullmatch(rf"{letter}(\d+)", option)) and int(match[1]) > 0:
                self.take(option)
                return int(match[1])
        return None

    def scope(self, named: dict[str, Scope]) -> Scope | None:
        """Return the scope that the options ask for, or None."""
        size = self.number("g")
        found = [scope for word, scope in named.items() if self.take(word)]
        found += [Scope("group", size)] if size else []
        if len(found) > 1:
            raise OptionError("expected one way to share a scale, got several.")
        return found[0] if found else None

    def end(self) -> None:
        if self.left:
            words = f"options {self.words}" if self.words else "no options"
            raise OptionError(f"expected {words}, got {self.left[0]!r}.")


def _suffix(scope: Scope, *, hidden: Scope | None) -> str:
    if scope == hidden:
        return ""
    if scope.sharing in ("group", "tile"):
        return f"_{'g' if scope.sharing == 'group' else 'block'}{scope.size}"
    return f"_{scope.sharing}"


def _family(
    name: str,
    aliases: tuple[str, ...],
    make: Callable[[Sequence[str]], Precision],
    options: str,
    *examples: tuple[str, ...],
) -> Family:
    return Family(name, aliases, make, options, ((), *examples))


_INT = "g<size>, channel, tensor, asym"
_FP8 = "channel, tensor, none, block128, g<size>"
_RULES = "floor, even, rceil"
_G32 = Scope("group", 32)

FAMILIES = (
    _family(
        "fp8_e4m3", ("fp8", "float8_e4m3fn", "e4m3"),
        partial(_float, prefix="fp8_e4m3", element=E4M3, default=_CHANNEL, same_as="compressed-tensors"),
        _FP8, ("block128",), ("tensor",), ("none",),
    ),
    _family(
        "fp8_e5m2", ("float8_e5m2", "e5m2"),
        partial(_float, prefix="fp8_e5m2", element=E5M2, default=_CHANNEL, same_as="torchao"), _FP8,
    ),
    _family("int8", ("w8",), partial(_integer, bits=8, default=_CHANNEL), _INT, ("g32",)),
    _family("mxfp8_e4m3", ("mxfp8",), partial(_mx, name="mxfp8_e4m3", element=E4M3, default="rceil"), _RULES),
    _family("mxfp8_e5m2", (), partial(_mx, name="mxfp8_e5m2", element=E5M2, default="rceil"), _RULES),
    _family("int6", ("w6",), partial(_integer, bits=6, default=_G32), _INT),
    _family("mxfp6_e2m3", ("mxfp6",), partial(_mx, name="mxfp6_e2m3", element=E2M3, default="even"), _RULES),
    _family("mxfp6_e3m2", (), partial(_mx, name="mxfp6_e3m2", element=E3M2, default="even"), _RULES),
    _family("int4", ("w4", "w4a16"), partial(_integer, bits=4, default=_G32), _INT, ("g128",), ("asym",)),
    _family("nf4", (), _nf4, "b<size>"),
    _family("nvfp4", (), _nvfp4, ""),
    _family("mxfp4", ("mxfp4_e2m1",), partial(_mx, name="mxfp4", element=E2M1, default="even"), _RULES, ("floor",)),
    _family(
        "fp4", ("e2m1",), partial(_float, prefix="fp4", element=E2M1, default=_G32, same_as=""),
        "g<size>, channel, tensor, none",
    ),
    _family("int3", ("w3",), partial(_integer, bits=3, default=_G32), _INT),
    _family("int2", ("w2",), partial(_integer, bits=2, default=_G32), _INT),
)  # fmt: skip
