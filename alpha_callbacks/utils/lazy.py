"""A property that is computed once per instance, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy_property(Generic[T]):
    """`functools.cached_property` as it is from Python 3.12 on.

    On 3.11 that one holds a lock per class attribute while it computes, shared by all instances: worker threads that
    each use their own instance then run one after the other. Here two threads that share an instance may compute the
    value twice; the last one is kept.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the name under which the instance keeps the value."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "lazy_property[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "T | lazy_property[T]":
        """Compute and keep the value; once kept, Python finds it on the instance and does not ask again."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
