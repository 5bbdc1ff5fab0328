"""The `quantization_config` of compressed-tensors: which module is stored in which scheme."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alpha_callbacks.utils.name_patterns import matches
from alpha_callbacks.weights.stored_quantization.scaled import Blocks


@dataclass(frozen=True)
class Scheme:
    """How the weights of a module are quantized.

    Attributes:
        bits: per code.
        kind: "int" or "float".
        strategy: "tensor", "channel", "group", "tensor_group" or "block".
        group: weights of a group.
        block: rows and columns of a block.
        symmetric: without zero points.
    """

    bits: int
    kind: str
    strategy: str
    group: int = 0
    block: tuple[int, int] = (0, 0)
    symmetric: bool = True

    @property
    def words(self) -> str:
        """The scheme for a reader."""
        sizes = {"group": f" of {self.group}", "tensor_group": f" of {self.group}", "block": " of {}x{}"}
        return f"{self.kind}{self.bits} per {self.strategy}{sizes.get(self.strategy, '').format(*self.block)}"

    def blocks(self, out_features: int, in_features: int) -> tuple[Blocks, tuple[int, int]]:
        """Return which weights share a scale, and how many row blocks and column blocks there are."""
        if self.strategy == "block":
            (rows, columns), words = self.block, "{}x{} block".format(*self.block)
        elif self.strategy == "channel":
            rows, columns, words = 1, in_features, "row"
        elif self.strategy == "tensor":
            rows, columns, words = out_features, in_features, "tensor"
        else:
            rows, columns, words = 1, self.group, f"group of {self.group}"
        return Blocks(rows, columns, words), (math.ceil(out_features / rows), math.ceil(in_features / columns))


def schemes_of(module: str, quantization: Mapping[str, Any]) -> Iterator[Scheme | None]:
    """Yield the schemes of the groups that target a module; exact names first, then patterns, then classes.

    A group that is not understood is None. The class of a module is not known here, so every class is taken to match.

    Args:
        module: path of the module.
        quantization: the `quantization_config`.

    Raises:
        PatternError: a pattern of the config is not understood, or takes too long.
    """
    found: list[tuple[int, Scheme | None]] = []
    for name, group in _groups(quantization):
        targets = group.get("targets", []) if isinstance(group, Mapping) else group
        ranks = [_rank(module, str(target)) for target in targets] if isinstance(targets, list | tuple) else []
        if any(ranks):
            args = group.get("weights") if isinstance(group, Mapping) else _preset(name)
            found.append((min(rank for rank in ranks if rank), _scheme(args)))
    best = min((rank for rank, _ in found), default=0)
    yield from (scheme for rank, scheme in found if rank == best)


def is_ignored(module: str, quantization: Mapping[str, Any]) -> bool:
    """Return True if the config says that a module is not quantized.

    Raises:
        PatternError: a pattern of the config is not understood, or takes too long.
    """
    ignored = quantization.get("ignore")
    return any(_rank(module, str(name)) in (1, 2) for name in ignored) if isinstance(ignored, list | tuple) else False


def _groups(quantization: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    groups = quantization.get("config_groups")
    if isinstance(groups, Mapping):
        yield from groups.items()


def _rank(module: str, target: str) -> int:
    """Return 1 for the module's own name, 2 for a pattern of it, 3 for a class, 0 for no match."""
    if target.startswith("re:"):
        return 2 if matches(target.removeprefix("re:"), module) else 0
    return 1 if target == module else 3 if target.isidentifier() and target[0].isupper() else 0


def _scheme(args: Any) -> Scheme | None:
    """Return QuantizationArgs as a scheme, or None if a field has a value that is not known."""
    if not isinstance(args, Mapping):
        return None
    bits, kind, group = args.get("num_bits", 8), _text(args.get("type", "int")), args.get("group_size")
    strategy = _text(args.get("strategy"))
    if not strategy:  # as the library fills it in
        strategy = "tensor" if group is None else "channel" if group == -1 else "group"
    block = args.get("block_structure") or (0, 0)
    sizes = (bits, 0 if group is None or group == -1 else group, *block) if isinstance(block, list | tuple) else ()
    if len(sizes) != 4 or not all(type(size) is int for size in sizes) or kind not in ("int", "float"):
        return None
    needs = {"group": sizes[1], "tensor_group": sizes[1], "block": sizes[2] and sizes[3], "channel": 1, "tensor": 1}
    if needs.get(strategy, 0) <= 0 or not 1 <= bits <= 8:
        return None
    symmetric = args.get("symmetric", True) is not False
    return Scheme(bits, kind, strategy, sizes[1], (sizes[2], sizes[3]), symmetric)


def _text(value: Any) -> str:
    return str(getattr(value, "value", value) or "")


_FLOATS: dict[str, dict[str, Any]] = {
    "FP8": {"num_bits": 8, "strategy": "tensor"},
    "FP8_DYNAMIC": {"num_bits": 8, "strategy": "channel"},
    "FP8_BLOCK": {"num_bits": 8, "strategy": "block", "block_structure": [128, 128]},
    "NVFP4": {"num_bits": 4, "strategy": "tensor_group", "group_size": 16},
    "MXFP4": {"num_bits": 4, "strategy": "group", "group_size": 32},
    "MXFP6": {"num_bits": 6, "strategy": "group", "group_size": 32},
    "MXFP8": {"num_bits": 8, "strategy": "group", "group_size": 32},
}


def _preset(name: str) -> dict[str, Any] | None:
    """Return the weights of a preset that the library knows by name ("W4A16", "FP8_DYNAMIC"), or None."""
    name = name.upper()
    if name in ("W8A8", "INT8"):
        return {"num_bits": 8, "strategy": "channel"}
    if match := re.fullmatch(r"W(\d)A(?:4|8|16|FP8)(_ASYM)?", name):
        return {"num_bits": int(match[1]), "strategy": "group", "group_size": 128, "symmetric": not match[2]}
    known = _FLOATS.get(name) or _FLOATS.get(re.sub(r"(A\d+|XFP8)$", "", name))
    return {"type": "float", **known} if known else None
