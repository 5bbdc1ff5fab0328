"""How much of a checkpoint has come over the network, and how fast."""

import threading
import time


class Traffic:
    """Counts the bytes that arrive; any thread may add to it."""

    def __init__(self) -> None:
        self.received = 0
        self._lock, self._began = threading.Lock(), time.monotonic()

    def add(self, length: int) -> None:
        """Count bytes that have arrived."""
        with self._lock:
            self.received += length

    @property
    def rate(self) -> float:
        """Bytes per second since the first request."""
        return self.received / max(time.monotonic() - self._began, 1e-9)
