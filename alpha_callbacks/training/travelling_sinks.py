"""What becomes of the sinks that a user has handed in when a callback is copied, or pickled for another process."""

import pickle
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.logger_sink import is_logger
from alpha_callbacks.sinks.sink import Sink, as_list

_LEFT_BEHIND: "WeakValueDictionary[int, Any]" = WeakValueDictionary()  # by id, as long as they live in this process


def travelling(sinks: Any) -> Any:
    """Return the sinks with writers, runs and what cannot be pickled replaced by a way back to them."""
    return sinks if isinstance(sinks, str) else [_travelling(sink) for sink in as_list(sinks)]


def _travelling(sink: Any) -> Any:
    if isinstance(sink, str):
        return sink
    if isinstance(sink, Sink) or is_logger(sink):  # a W&B run, say, can be pickled, but not read in its own process
        with suppress(Exception):  # whatever their own code raises
            pickle.dumps(sink)
            return sink
    return _WayBack(sink)


class _WayBack:
    """Pickles and copies as the same object where that is alive, else as what says at its first use that it is not."""

    def __init__(self, sink: Any) -> None:
        self._key, self._kind = id(sink), type(sink).__name__
        with suppress(TypeError):  # a class with __slots__ may take no weak reference
            _LEFT_BEHIND[self._key] = sink

    def __reduce__(self) -> tuple[Any, ...]:
        return _found_again, (self._key, self._kind)

    def __deepcopy__(self, memo: Any) -> Any:
        return _found_again(self._key, self._kind)


def _found_again(key: int, kind: str) -> Any:
    found = _LEFT_BEHIND.get(key)
    return found if type(found).__name__ == kind else _LeftBehind(kind)


class _LeftBehind:
    """In the place of a sink of another process."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def log(self, snapshot: object) -> None:
        """Say what is missing; the other sinks are not affected."""
        raise OptionError(
            f"sinks: expected an object that can be pickled, got {self._kind}, which stayed in the process that made "
            f'it. Name the sink ("tensorboard", "wandb"), or make the callback where it runs.'
        )

    def close(self) -> None:
        """Nothing is open."""
