"""The `module` that DistributedDataParallel and AveragedModel put before the names of a model's tensors."""

import re
from collections.abc import Sequence
from dataclasses import replace

from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor


def without_wrapper(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Return tensors without the `module` of DistributedDataParallel, which all matrices have in one place or none.

    It comes first, or after the name of the attribute that holds the wrapped model ("model.module."). AveragedModel has
    it too, and a counter beside it; one may be around the other.
    """
    own = {tensor.name: clean_name(tensor.name) for tensor in tensors if not tensor.companion}
    matrices = [own[t.name] for t in tensors if not t.companion and len(t.shape) > 1]
    found = re.match(r"((?!module\.)\w+\.)?(module\.)+", min(matrices, default=""))
    if found is None or not all(name.startswith(found[0]) for name in matrices):
        return list(tensors)
    wrapped, whole = found[0], found[1] or ""
    short = {name: whole + own[name].removeprefix(wrapped) for name in own if own[name].startswith(wrapped)}
    if len({short.get(name, name) for name in own}) < len(own):
        return list(tensors)

    def bare(name: str) -> str:
        return whole + name.removeprefix(wrapped) if name.startswith(wrapped) else name

    def unwrapped(tensor: StoredTensor) -> StoredTensor:
        source, files = bare(clean_name(tensor.source)), tuple(map(bare, tensor.saved_as))
        return replace(tensor, name=short.get(tensor.name, tensor.name), source=source, saved_as=files)

    return [t if t.companion else unwrapped(t) for t in tensors]
