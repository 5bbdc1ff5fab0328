"""What becomes of an error during training: one warning, or an exception."""

from types import TracebackType

from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)


class ErrorPolicy:
    """A context whose errors become one warning each, or, where it is strict, are raised.

    Args:
        strict: raise errors.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._warned: set[str] = set()

    def warn(self, text: str, *, once: str) -> None:
        """Log a warning, unless one with the same `once` was logged before."""
        if once not in self._warned:
            self._warned.add(once)
            _log.warning("alpha-Hill: %s. Training continues; this is said once.", text.rstrip("."))

    def say(self, text: str) -> None:
        """Log what is no error but has to be known, once."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("alpha-Hill: %s.", text.rstrip("."))

    def __enter__(self) -> "ErrorPolicy":
        """Do nothing; contexts may be nested."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Turn an error into a warning unless strict; KeyboardInterrupt and the like always pass."""
        if self.strict or not isinstance(error, Exception):
            return False
        self.warn(f"{type(error).__name__}: {error}", once=str(error))
        return True
