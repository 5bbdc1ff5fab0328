"""The contract of a layout: which tensors form one matrix, and how its rows are decoded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alpha_callbacks.weights.stored_tensor import StoredTensor


@dataclass(frozen=True)
class Description:
    """What a model says about itself beside its tensors.

    Attributes:
        config: config.json as a dict, or empty.
        quantization: its `quantization_config`, or empty.
        metadata: texts in the headers of the files (safetensors), or empty.
    """

    config: Mapping[str, Any]
    quantization: Mapping[str, Any]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """One matrix, or one stack of matrices, that a layout has recognised.

    Attributes:
        codes: the tensor that holds the codes.
        companions: what a companion holds ("scales", "zero points", "indices") -> that tensor.
    """

    codes: StoredTensor
    companions: Mapping[str, StoredTensor]


class Layout(Protocol):
    """One way to store a quantized matrix."""

    @property
    def name(self) -> str:
        """Name of the layout, for messages."""

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterable[Claim]:
        """Return the matrices in this layout; a tensor whose meaning is in doubt must not be claimed.

        Args:
            tensors: parameter path -> tensor, for all tensors that no earlier layout has claimed.
            about: what the model says of itself.
        """

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return the matrix as a tensor whose `read(start, stop)` decodes those rows and no others.

        Its name is that of the matrix ("model.layers.0.mlp.up_proj.weight", whatever the codes are called), its shape
        (out_features, in_features), or (experts, ...) of a stack, its `stored_dtype` names the layout in the field's
        words. A matrix that is recognised and cannot be decoded has the reason in `packed`.
        """
