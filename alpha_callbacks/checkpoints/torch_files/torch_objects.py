"""What stands for the storages, tensors and types of torch in a pickle."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign, Global

_LARGEST = 2**63
_MOST_DIMENSIONS = 64
_MOST_PARTS = 8  # of a sparse tensor
_SPARSE = ("torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc")


@dataclass(frozen=True, slots=True)
class StorageType:
    """A class of storages; dtype None: bytes without a type."""

    dtype: torch.dtype | None


@dataclass(frozen=True, slots=True)
class Storage:
    """The values of one or more tensors.

    Attributes:
        key: names it in its file.
        dtype: type of its elements; None for bytes.
        numel: number of elements.
    """

    key: str
    dtype: torch.dtype | None
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.numel * (self.dtype.itemsize if self.dtype is not None else 1)


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor as a pickle describes it; all of it is checked to lie within its storage.

    Attributes:
        shape: sizes.
        dtype: type of the elements.
        storage: None if `why` says why there are no values to read.
        offset: of the first element in the storage, in elements.
        strides: elements from one index of a dimension to the next.
        why: why its values are no plain numbers, or "".
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    storage: Storage | None
    offset: int = 0
    strides: tuple[int, ...] = ()
    why: str = ""


def construct(path: str, args: tuple[Any, ...]) -> Any:
    """Return what stands for the object that calling `path` would make.

    Raises:
        ValueError: a tensor that cannot be.
    """
    if path in _RECONSTRUCTORS and args and isinstance(args[0], Global):  # as protocols 0 and 1 make objects
        return Foreign(args[0].path)
    make = _MAKERS.get(path)
    if make is None:
        return Foreign(path, args)
    try:
        return make(*args)
    except TypeError as error:  # other arguments than these functions have in any release of torch
        raise ValueError(f"unknown arguments of {path}") from error


def resolve(path: str) -> Any:
    """Return what stands for a class, function or constant that a pickle names."""
    storage = _STORAGE.fullmatch(path)
    if storage and storage[1] in _STORAGE_DTYPES:
        return StorageType(_STORAGE_DTYPES[storage[1]])
    return _dtypes().get(path) or Global(path)


def storage_of(pid: Any) -> Storage:
    """Return the storage that a persistent id of torch.save names.

    Raises:
        ValueError: no such id.
    """
    if isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage":
        _, kind, key, _, numel, *view = pid
        sound = isinstance(kind, StorageType) and isinstance(key, str) and _size(numel)
        if sound and view in ([], [None]):
            return Storage(key, kind.dtype, numel)
        if sound:
            raise ValueError("views of storages, as torch before 0.4 wrote them")
    raise ValueError("a reference to data that is no storage of torch.save")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any, dtype: torch.dtype | None = None) -> Any:
    """Stand for `_rebuild_tensor_v2`; the rest: requires_grad, hooks, metadata."""
    if isinstance(storage, Foreign):
        return _without_values(shape, dtype or torch.float32, "stored as a file within the file")
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    kind = dtype or storage.dtype
    if kind is None or not (_size(offset) and _sizes(shape) and _sizes(strides) and len(shape) == len(strides)):
        raise ValueError("a tensor whose type, offset, shape or strides are none")
    bits = rest[2] if len(rest) > 2 and isinstance(rest[2], dict) else {}
    lazily = any(bits.get(name) is True for name in ("conj", "neg"))
    why = "a lazily conjugated or negated view" if lazily else ""
    elements, values = 1, storage.nbytes // kind.itemsize
    for size in shape:
        elements *= size
    if elements:
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if last >= values:
            raise ValueError(f"a tensor of shape {tuple(shape)} that reaches beyond its storage of {values:,} elements")
        if elements > values:
            why = "a view that repeats its stored values"
    return PickledTensor(tuple(shape), kind, storage, offset, tuple(strides), why)


def _tensor_of_type(storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any,
                    *bits: Any) -> Any:  # fmt: skip
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without a type")
    return _tensor(storage, offset, shape, strides, grad, hooks, *bits, dtype=dtype)


def _without_values(shape: Any, dtype: Any, why: str) -> PickledTensor:
    if not _sizes(shape) or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor whose type or shape is none")
    return PickledTensor(tuple(shape), dtype, None, why=why)


def _quantized(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Any:
    tensor = _tensor(storage, offset, shape, strides)
    return replace(tensor, why="codes of torch's own quantized tensors")


def _sparse(layout: Any, data: Any) -> Any:
    """Stand for a sparse tensor; its data are indices, values, the shape and more."""
    if not isinstance(data, tuple) or len(data) > _MOST_PARTS:
        raise ValueError("a sparse tensor without its parts")
    name = layout.args[0] if isinstance(layout, Foreign) and layout.args else None
    parts = [part for part in data if isinstance(part, PickledTensor)]
    shape = next((part for part in reversed(data) if _sizes(part) and part), ())
    dtype = parts[-1].dtype if parts else torch.float32
    stored = name if name in _SPARSE else "a sparse tensor"
    return _without_values(shape, dtype, f"stored as {stored}, which has no rows to read")


def _wrapped(cls: Any, dtype: Any, shape: Any, *rest: Any) -> Any:
    kind = cls.path if isinstance(cls, Global) else "a subclass"
    what = "one rank's part of a DTensor" if kind.endswith(".DTensor") else f"a tensor of the class {kind}"
    return _without_values(shape, dtype, what)


def _of_class(function: Any, cls: Any, args: Any, state: Any) -> Any:
    """Stand for `_rebuild_from_type_v2`: a tensor that was made by another function, with a class and a state."""
    if isinstance(function, Global) and function.path.startswith("torch._tensor._rebuild_from_type"):
        raise ValueError("a tensor of a class within a tensor of a class")  # which might go on without an end
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise ValueError("a tensor that is made by something that is no function")
    return construct(function.path, args)


def _from_array(data: Any, *rest: Any) -> Any:
    return data if isinstance(data, PickledTensor) else Foreign("torch._utils._rebuild_device_tensor_from_numpy")


def _dict(*args: Any) -> Any:
    """Stand for `OrderedDict` and the like, made empty or, by Python 2, of pairs."""
    pairs = args[-1] if args else None
    if isinstance(pairs, dict):
        return pairs
    found = {}
    while isinstance(pairs, list) and pairs:  # taken from the list: a pickle may name one list a million times
        pair = pairs.pop()
        if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
            found[pair[0]] = pair[1]
    return dict(reversed(found.items()))


def _sequence(*args: Any) -> Any:
    return args[0] if args and isinstance(args[0], list | tuple) else []


def _as_size(*args: Any) -> Any:
    return tuple(args[0]) if args and _sizes(args[0]) else ()


def _size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _sizes(values: Any) -> bool:
    return isinstance(values, tuple | list) and len(values) <= _MOST_DIMENSIONS and all(map(_size, values))


def _first(value: Any, *rest: Any) -> Any:
    return value


_RECONSTRUCTORS = ("copyreg._reconstructor", "copy_reg._reconstructor")
_UTILS = "torch._utils._rebuild_"
_MAKERS: Mapping[str, Callable[..., Any]] = {
    f"{_UTILS}tensor": _tensor,
    f"{_UTILS}tensor_v2": _tensor,
    f"{_UTILS}tensor_v3": _tensor_of_type,
    f"{_UTILS}parameter": _first,
    f"{_UTILS}parameter_with_state": _first,
    f"{_UTILS}qtensor": _quantized,
    f"{_UTILS}sparse_tensor": _sparse,
    f"{_UTILS}sparse_csr_tensor": _sparse,
    f"{_UTILS}meta_tensor_no_storage": lambda dtype, shape, *rest: _without_values(
        shape, dtype, "on the meta device, which holds no values"
    ),
    f"{_UTILS}wrapper_subclass": _wrapped,
    f"{_UTILS}device_tensor_from_cpu_tensor": _from_array,
    f"{_UTILS}device_tensor_from_numpy": _from_array,
    "torch._tensor._rebuild_from_type": lambda function, cls, args, state: _of_class(function, cls, args, state),
    "torch._tensor._rebuild_from_type_v2": _of_class,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.Size": _as_size,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict,
    "collections.Counter": _dict,
    **dict.fromkeys(("builtins.dict", "__builtin__.dict"), _dict),
    **dict.fromkeys((f"{module}.{name}" for module in ("builtins", "__builtin__")
                     for name in ("set", "frozenset", "list", "tuple")), _sequence),
}  # fmt: skip

_STORAGE = re.compile(r"torch(?:\.cuda|\.storage)?\.(\w+)Storage")
_STORAGE_DTYPES: Mapping[str, torch.dtype | None] = {
    "Untyped": None,
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QUInt8": torch.quint8,
    "QInt8": torch.qint8,
    "QInt32": torch.qint32,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}


@cache
def _dtypes() -> Mapping[str, torch.dtype]:
    return {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
