"""The weights of a live model, listed anew only where it holds other tensors than when it was last looked at."""

import weakref
from collections.abc import Iterator

from torch import nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.computed_weight import is_computed
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.peft_tensors import is_adapted
from alpha_callbacks.weights.stored_dtype import is_quantized
from alpha_callbacks.weights.weight import Weight


class LiveWeights:
    """Remembers the inventory of one model.

    An inventory reads each weight when its turn comes, so it holds for as long as the modules and their tensors are the
    same ones; listing 18,000 experts anew takes a second. Of models that are sharded, quantized or
    under PEFT, whose rows follow the adapters that act, it is made each time. The model is not kept alive.
    """

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()
        self._found: Inventory | None = None
        self._model: weakref.ref[nn.Module] | None = None

    def of(self, model: nn.Module, options: AnalysisOptions) -> Inventory:
        """Return what `module_inventory` does."""
        seen = (options, *_held(model))
        if self._found is None or seen != self._seen:
            found = module_inventory(model, options)
            moving = any(map(is_adapted, model.modules())) or any(map(_may_change, found.weights))
            # What is computed by the model itself would keep it alive.
            if moving or is_computed(model):
                self.forget()
            else:
                me = weakref.ref(self)
                self._seen, self._found = seen, found
                self._model = weakref.ref(model, lambda _: _forget(me()))
            return found
        return self._found

    def __reduce__(self) -> tuple[type["LiveWeights"], tuple[()]]:
        """Travel to another process without the model."""
        return LiveWeights, ()

    def forget(self) -> None:
        """Let go of the model's tensors."""
        self._seen, self._found, self._model = (), None, None


def _forget(listed: LiveWeights | None) -> None:
    if listed is not None:
        listed.forget()


def _held(model: nn.Module) -> Iterator[object]:
    """Yield what an inventory depends on: which modules there are, and the tensors in them by identity and kind."""
    for path, child in model.named_modules():
        yield path
        yield id(child)
        for tensors in (child._parameters, child._buffers):
            for name, tensor in tensors.items():
                yield name
                if tensor is not None:
                    yield id(tensor), tensor.shape, tensor.dtype, tensor.device


def _may_change(weight: Weight) -> bool:
    """Return True for a weight that is described by more than the tensors in the modules."""
    return weight.sharded is not None or bool(weight.unsupported) or is_quantized(weight.stored_dtype)
