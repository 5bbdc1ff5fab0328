"""How much the loss of a language model depends on each layer: the trace of its Fisher information."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from alpha_callbacks.evaluation.writable_weights import Layer, Target, targets
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import spans

# As many tokens in 16 windows of 64 gave plans that were a little worse (SmolLM2, also on texts kept aside for that).
WINDOWS, LENGTH = 4, 256

Progress = Callable[[int, int, str], None]
Labels = Literal["text", "sampled"]


def fisher_trace(
    model: nn.Module,
    windows: Tensor,
    *,
    layers: Sequence[Layer] | None = None,
    labels: Labels = "text",
    on_progress: Progress | None = None,
) -> dict[str, float]:
    """Return layer name -> sum over its weights of the squared gradient of the loss, mean over windows.

    One backward pass a window. Each gradient is squared, summed and freed as soon as it is there, so that no more than
    those of one layer are held at a time. Weights, gradients, flags, modes and random state are left as found.

    Args:
        model: a causal language model that returns `.logits` (transformers).
        windows: token ids, shape (windows, length), see `LanguageModel.windows`.
        layers: which, by their names in a table or a plan; default: those that a scan of the model lists. Parts of a
            fused matrix that is not stored part by part share its sum by their numbers of weights.
        labels: whose gradient it is: "text", the tokens that follow (the empirical Fisher), or "sampled", tokens drawn
            from the model's own predictions, as the Fisher information is defined; always the same draws.
        on_progress: called with (windows done, windows in all, "fisher").

    Raises:
        PlanError: the model lacks a layer.
    """
    listed = module_inventory(model, AnalysisOptions()).weights if layers is None else layers
    found = targets(model, listed)
    sums = [0.0] * len(found)
    draws = torch.Generator().manual_seed(0)  # its own: the random state of the process stays
    with torch.enable_grad(), _watched(model, pieces(model, found), sums):
        for i, window in enumerate(windows):
            _loss(model, window, draws if labels == "sampled" else None).backward()
            if on_progress is not None:
                on_progress(i + 1, len(windows), "fisher")
    traces: dict[str, float] = {}
    for target, total in zip(found, sums, strict=True):
        for layer in target.layers:
            share = layer.out_features * layer.in_features / target.matrix.numel()
            traces[layer.layer_name] = total / len(windows) * share
    return traces


def _loss(model: nn.Module, window: Tensor, draws: torch.Generator | None) -> Tensor:
    tokens = window.to(next(model.parameters()).device)
    logits: Any = model(input_ids=tokens[None], use_cache=False).logits
    predicted = logits[0, :-1].float()
    following = tokens[1:]
    if draws is not None:
        shares = predicted.detach().softmax(-1).cpu()
        following = torch.multinomial(shares, 1, generator=draws)[:, 0].to(tokens.device)
    loss: Tensor = nn.functional.cross_entropy(predicted, following)
    return loss


@dataclass(frozen=True)
class Piece:
    """Where a matrix is in the memory of its parameter.

    Attributes:
        index: of the matrix.
        matrix: its view of the parameter.
        offset: of its first element from the parameter's.
    """

    index: int
    matrix: Tensor
    offset: int

    def of(self, gradient: Tensor) -> Tensor:
        """Return the part of a gradient, laid out as the parameter is, that belongs to the matrix."""
        return gradient.as_strided(self.matrix.shape, self.matrix.stride(), gradient.storage_offset() + self.offset)


def pieces(model: nn.Module, found: Sequence[Target]) -> dict[nn.Parameter, list[Piece]]:
    """Return the parameters that hold matrices, with the matrices in each."""
    parameters = sorted((p for p in model.parameters() if p.numel()), key=lambda parameter: parameter.data_ptr())
    addresses = [parameter.data_ptr() for parameter in parameters]
    pieces: dict[nn.Parameter, list[Piece]] = {}
    for index, target in enumerate(found):
        address = target.matrix.data_ptr()
        parameter = parameters[bisect_right(addresses, address) - 1]
        offset = (address - parameter.data_ptr()) // parameter.element_size()
        pieces.setdefault(parameter, []).append(Piece(index, target.matrix, offset))
    return pieces


@contextmanager
def _watched(model: nn.Module, pieces: Mapping[nn.Parameter, list[Piece]], sums: list[float]) -> Iterator[None]:
    """Let only these parameters have gradients, which are squared and freed; leave all as it was."""

    def take(parameter: Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = None
        for piece in pieces[cast(nn.Parameter, parameter)]:
            sums[piece.index] += _square_sum(piece.of(gradient))

    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    hooks: list[RemovableHandle] = []
    try:
        model.eval()
        for parameter, _, _ in flags:
            parameter.grad = None
            parameter.requires_grad_(parameter in pieces)
        hooks += [parameter.register_post_accumulate_grad_hook(take) for parameter in pieces]
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, flag, gradient in flags:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode


def _square_sum(matrix: Tensor) -> float:
    blocks = (matrix[start:stop] for start, stop in spans(*matrix.shape))
    return sum(float(block.double().square().sum()) for block in blocks)
