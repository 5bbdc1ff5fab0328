"""What a forward pass multiplies with, each matrix as (out, in): an oracle for how a model stores its weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm)


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.matrices: list[Tensor] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is nn.functional.linear:
            self.matrices.append(kwargs.get("weight", args[1] if len(args) > 1 else None))
        elif function in _PRODUCTS:
            left, right = (*args, *kwargs.values())[:2]
            self._keep(left)  # W @ x
            self._keep(right.mT if right.ndim > 1 else right)  # x @ W
        elif function in (torch.addmm, torch.baddbmm):
            self._keep(args[2].mT)
        elif function is nn.functional.multi_head_attention_forward:  # what it calls, no mode sees
            self.matrices += [matrix for matrix in (args[5], args[11]) if matrix is not None]
        elif function is torch.einsum:
            self._einsum(args[0], *args[1:])
        return function(*args, **kwargs)

    def _keep(self, matrices: Tensor) -> None:
        if matrices.ndim >= 2:
            self.matrices += matrices.detach().reshape(-1, *matrices.shape[-2:]).unbind()

    def _einsum(self, equation: str, left: Tensor, right: Tensor) -> None:
        inputs, _, output = equation.replace(" ", "").partition("->")
        first, second = inputs.split(",")
        if set(second) & set(first) & set(output):  # a batch, so no weight
            return
        out = [i for i, letter in enumerate(second) if letter in output]
        into = [i for i, letter in enumerate(second) if letter not in output]
        turned = right.detach().permute(*out, *into)
        self.matrices.append(turned.reshape(-1, max(1, turned.shape[len(out) :].numel())))


class Multiplied:
    """The matrices of one forward pass."""

    def __init__(self, forward: Callable[[], Any]) -> None:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # it multiplies where no mode sees it
        try:
            with torch.no_grad(), _Recorder() as recorder:
                forward()
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        self._rows: dict[int, list[set[bytes]]] = {}
        for matrix in recorder.matrices:
            self._rows.setdefault(matrix.shape[1], []).append(_row_bytes(matrix))

    def has(self, matrix: Tensor) -> bool:
        """Return True if one of the matrices has all rows of this one, shape (out, in)."""
        rows = _row_bytes(matrix)
        return any(rows <= found for found in self._rows.get(matrix.shape[1], ()))


def _row_bytes(matrix: Tensor) -> set[bytes]:
    return {row.tobytes() for row in matrix.detach().contiguous().numpy()}
