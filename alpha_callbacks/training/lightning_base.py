"""The base class of callbacks in every installed Lightning: `lightning.pytorch` and `pytorch_lightning`."""

from importlib import import_module
from typing import TYPE_CHECKING

from alpha_callbacks.errors import MissingExtraError

if TYPE_CHECKING:
    from lightning.pytorch import Callback as Callback
else:

    def _callback_classes() -> tuple[type, ...]:
        """Return the Callback class of each installed Lightning: they differ, and each trainer checks for its own."""
        found = []
        for name in ("lightning.pytorch", "pytorch_lightning"):
            try:
                found.append(import_module(name).Callback)
            except ImportError:
                continue
        if not found:
            raise MissingExtraError("AlphaHillCallback", "lightning")
        return tuple(dict.fromkeys(found))

    class Callback(*_callback_classes()):
        """Accepted by the trainers of both."""
