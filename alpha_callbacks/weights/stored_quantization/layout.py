"""The contract of a layout: which tensors form one matrix, and how its rows are decoded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alpha_callbacks.weights.stored_tensor import StoredTensor


@dataclass(frozen=True)
class Claim:
    """One matrix that a layout has recognised.

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

    def recognise(self, tensors: Mapping[str, StoredTensor], quantization: Mapping[str, Any]) -> Iterable[Claim]:
        """Return the matrices in this layout; a tensor whose meaning is in doubt must not be claimed.

        Args:
            tensors: parameter path -> tensor, for all tensors that no earlier layout has claimed.
            quantization: `quantization_config` of the model's config.json, or empty.
        """

    def decode(self, claim: Claim, quantization: Mapping[str, Any]) -> StoredTensor:
        """Return the matrix as a tensor whose `read(start, stop)` decodes those rows and no others."""
