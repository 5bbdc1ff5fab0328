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

    @property
    def method(self) -> str:
        """The `quant_method` of its quantization, or an empty string; transformers keeps an Enum in live models."""
        found = self.quantization.get("quant_method") or ""
        return str(getattr(found, "value", found))


@dataclass(frozen=True)
class Summary:
    """A layout's row in the table of docs/what_can_be_scanned.md, in Markdown.

    Attributes:
        decoded: what becomes rows of the results.
        names: the tensors by which it is recognised.
        live: live modules that hold the same tensors, or "-".
        refused: what is not decoded, and how that is said.
    """

    decoded: str
    names: str
    live: str
    refused: str


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

    @property
    def summary(self) -> Summary:
        """What the documentation says of it; a test compares the two."""

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
