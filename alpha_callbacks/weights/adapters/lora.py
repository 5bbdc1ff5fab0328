"""LoRA, AdaLoRA and DoRA of linear layers, convolutions, embeddings and expert stacks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.adapters.names import Group
from alpha_callbacks.weights.adapters.scaling import UNKNOWN_SCALE, scale_of
from alpha_callbacks.weights.adapters.update import Update, low_rank, whole
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor


def lora(group: Group, name: str, scale: float, method: str = "LoRA") -> Update:
    """Return scale * B A of a linear layer or a convolution.

    B has shape (out, rank) or (out, rank, 1, 1), A (rank, in) or (rank, in, height, width). kohya's `lora_mid`
    (rank, rank, height, width) is the kernel of a convolution between two of size 1.
    """
    a, b, mid = group.roles["lora_A"], group.roles["lora_B"], group.roles.get("lora_mid")
    rank = a.shape[0]
    update = Update(name, f"{method}, rank {rank}", (b.shape[0], *(a.shape[1:2] + (mid or a).shape[2:])))
    if math.prod(b.shape[1:]) != (mid or a).shape[0] or len(a.shape) < 2:
        shapes = " and ".join("x".join(map(str, t.shape)) for t in (b, a))
        return update.refused(f"factors of shape {shapes} have no product (a grouped convolution, or a part of one)")

    def right() -> Tensor:
        inner = whole(a)
        if mid is not None:
            inner = torch.einsum("rshw,si->rihw", whole(mid), inner.flatten(1))
        return scale * inner.flatten(1)

    def left(start: int, stop: int) -> Tensor:
        return b.read(start, stop).double().flatten(1)

    kind: Kind = "conv" if len(update.shape) > 2 else "linear"
    return low_rank(name, update.method, left, right, (mid or a).shape[0], update.shape, kind)


def adalora(group: Group, name: str, config: Mapping[str, Any], known: float | None = None) -> Update:
    """Return alpha / (rank + 1e-5) * B (E * A), as PEFT computes it; `known` is the whole factor."""
    a, b, e = (group.roles[role] for role in ("lora_A", "lora_B", "lora_E"))
    rank = a.shape[0]
    scale = known
    if scale is None:
        alpha = scale_of(group, 1, config, peft=True)
        if alpha is None:
            return Update(name, "AdaLoRA", (b.shape[0], a.shape[1])).refused(UNKNOWN_SCALE)
        scale = (alpha if alpha > 0 else rank) / (rank + 1e-5)
    update = low_rank(
        name,
        f"AdaLoRA, rank {rank}",
        lambda start, stop: b.read(start, stop).double(),
        lambda: scale * whole(a) * whole(e),
        rank,
        (b.shape[0], a.shape[1]),
    )
    return update.of_factors(b, e, a, fit=b.shape[1:] == a.shape[:1] and len(a.shape) == 2 and e.shape == (rank, 1))


def embedding_lora(group: Group, name: str, scale: float) -> Update:
    """Return scale * (B A)^T of an embedding table: A of shape (rank, vocabulary), B (dimension, rank)."""
    a, b = group.roles["lora_embedding_A"], group.roles["lora_embedding_B"]
    update = low_rank(
        name,
        f"LoRA, rank {a.shape[0]}",
        lambda start, stop: a.read(0, a.shape[0])[:, start:stop].T.double(),
        lambda: scale * whole(b).T,
        a.shape[0],
        (a.shape[1], b.shape[0]),
        "embedding",
    )
    return update.of_factors(b, a, fit=b.shape[1:] == a.shape[:1] and len(a.shape) == 2)


def transposed_lora(group: Group, name: str, scale: float) -> Update:
    """Return MLX's scale * (a b)^T: a of shape (in, rank), b (rank, out)."""
    a, b = group.roles["lora_a"], group.roles["lora_b"]
    update = low_rank(
        name,
        f"LoRA, rank {a.shape[1]}",
        lambda start, stop: b.read(0, b.shape[0])[:, start:stop].T.double(),
        lambda: scale * whole(a).T,
        a.shape[1],
        (b.shape[1], a.shape[0]),
    )
    return update.of_factors(a, b, fit=a.shape[1:] == b.shape[:1] and len(b.shape) == 2)


def expert_lora(group: Group, name: str, scale: float, rank: int) -> Update:
    """Return scale * B_e A_e of every expert, shape (experts, out, in), for PEFT's `target_parameters`.

    A has the factors of the experts one below the other, (experts * rank, in); in B, (out, rank * experts), the expert
    counts fastest.
    """
    a, b = group.roles["lora_A"], group.roles["lora_B"]
    experts = a.shape[0] // rank

    def change(start: int, stop: int) -> Tensor:
        below = a.read(start * rank, stop * rank).double().unflatten(0, (stop - start, rank))
        above = whole(b).unflatten(1, (rank, experts))[:, :, start:stop].permute(2, 0, 1)
        found: Tensor = scale * above @ below
        return found

    shape = (experts, b.shape[0], a.shape[1])
    update = Update(name, f"LoRA, rank {rank}", shape, {"change": change}, kind="unknown")
    return update.of_factors(b, a, fit=b.shape[1:] == a.shape[:1] and len(a.shape) == 2)


def dora(update: Update, magnitude: StoredTensor) -> Update:
    """Return m * (W + change) / ||W + change||, the norm that of each row, for an update by `change`."""
    update = replace(update, method=update.method.replace("LoRA", "DoRA", 1), right=None)
    if math.prod(magnitude.shape) != update.shape[0] or magnitude.shape[0] == 1 and len(magnitude.shape) == 2:
        return update.refused("magnitudes of another shape than one per output feature")

    def scale(start: int, stop: int) -> Tensor:
        return whole(magnitude).flatten()[start:stop, None]

    def combine(base: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        adapted = base + rows["change"]
        norms: Tensor = torch.linalg.vector_norm(adapted, dim=1, keepdim=True)
        return adapted * (rows["scale"] / norms)

    return replace(update, rows={**update.rows, "scale": scale}, combine=combine)
