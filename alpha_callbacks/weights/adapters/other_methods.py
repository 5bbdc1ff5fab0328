"""LoHa, LoKr, VeRA, IA3 and OFT, each as its reference implementation merges it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.adapters.names import Group
from alpha_callbacks.weights.adapters.update import Update, low_rank, whole
from alpha_callbacks.weights.stored_tensor import StoredTensor


def loha(group: Group, name: str, scale: float) -> Update:
    """Return scale * (a1 b1) * (a2 b2), the middle product entry by entry; only of linear shapes."""
    a1, b1, a2, b2 = (group.roles[f"hada_{role}"] for role in ("w1_a", "w1_b", "w2_a", "w2_b"))
    update = Update(name, f"LoHa, rank {b1.shape[0]}", (a1.shape[0], b1.shape[1]))

    def change(start: int, stop: int) -> Tensor:
        first, second = (a.read(start, stop).double() @ whole(b) for a, b in ((a1, b1), (a2, b2)))
        return scale * first * second

    if "hada_t1" in group.roles:
        return update.refused("of a convolution in Tucker form")
    products = all(a.shape[1:] == b.shape[:1] and len(b.shape) == 2 for a, b in ((a1, b1), (a2, b2)))
    fit = products and (a1.shape[0], b1.shape[1]) == (a2.shape[0], b2.shape[1])
    return replace(update, rows={"change": change}).of_factors(a1, b1, a2, b2, fit=fit)


def lokr(group: Group, name: str, scale: float) -> Update:
    """Return scale * kron(w1, w2), each factor stored whole or as a product of two."""
    roles = group.roles
    first, second = ([roles[r] for r in (f"lokr_w{i}", f"lokr_w{i}_a", f"lokr_w{i}_b") if r in roles] for i in (1, 2))
    (rows1, cols1), (rows2, cols2) = ((f[0].shape[0], math.prod(f[-1].shape[1:])) for f in (first, second))
    update = Update(name, "LoKr", (rows1 * rows2, cols1 * cols2))
    if "lokr_t2" in roles or any(len(t.shape) > 2 for t in (*first, *second)):
        return update.refused("of a convolution")

    def change(start: int, stop: int) -> Tensor:
        w1, w2 = (reduce(torch.matmul, map(whole, factors)) for factors in (first, second))
        at = torch.arange(start, stop)
        return scale * (w1[at // rows2][:, :, None] * w2[at % rows2][:, None, :]).flatten(1)

    fit = all(a.shape[1] == b.shape[0] for factors in (first, second) for a, b in pairwise(factors))
    return replace(update, rows={"change": change}).of_factors(*first, *second, fit=fit)


def vera(group: Group, name: str, shared: Mapping[str, StoredTensor]) -> Update:
    """Return diag(b) B diag(d) A, with the matrices A and B that all layers share."""
    b, d = group.roles["vera_lambda_b"], group.roles["vera_lambda_d"]
    rank, out_features = d.shape[0], b.shape[0]
    if set(shared) != {"vera_A", "vera_B"}:
        return Update(name, f"VeRA, rank {rank}", (out_features, 0)).refused(
            "its shared matrices are not in the file (save_projection=True keeps them)"
        )
    left, right = (
        shared["vera_B"],
        shared["vera_A"],
    )  # as wide as the widest layer: only the base tells this one's width

    def factor(start: int, stop: int) -> Tensor:
        return whole(b)[start:stop, None] * left.read(start, stop).double()

    update = low_rank(
        name, f"VeRA, rank {rank}", factor, lambda: whole(d)[:, None] * whole(right), rank, (out_features, 0)
    )
    fit = len(left.shape) == len(right.shape) == 2 and left.shape[0] >= out_features
    return update.of_factors(b, left, d, right, fit=fit and left.shape[1] == right.shape[0] == rank)


def ia3(group: Group, name: str) -> Update:
    """Return the weight with its rows (or, in a feedforward layer, its columns) scaled."""
    vector = group.roles["ia3_l"]
    if vector.shape[0] == 1:
        shape = (0, math.prod(vector.shape))
        return Update(name, "IA3", shape, combine=lambda base, rows: base * whole(vector).flatten())
    return Update(
        name,
        "IA3",
        (math.prod(vector.shape), 0),
        {"scale": lambda start, stop: whole(vector).flatten()[start:stop, None]},
        combine=lambda base, rows: base * rows["scale"],
    )


def oft(group: Group, name: str, config: Mapping[str, Any]) -> Update:
    """Return W R^T, R block diagonal with the Cayley transforms of skew-symmetric blocks, for linear layers."""
    stored = group.roles["oft_R"]
    blocks, entries = stored.shape[0], stored.shape[-1]
    size = round((1 + math.sqrt(1 + 8 * entries)) / 2)
    shared = bool(config.get("block_share"))
    update = Update(name, f"OFT, block {size}", (0, 0 if shared else blocks * size))
    if len(stored.shape) != 2 or size * (size - 1) // 2 != entries:
        return update.refused("blocks of an older PEFT, which are not understood")
    if config.get("coft"):
        return update.refused("constrained (coft), which is not computed")
    terms = int(config.get("num_cayley_neumann_terms", 5)) if config.get("use_cayley_neumann", True) else 0

    def combine(base: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        turned = _cayley(whole(stored), size, terms)
        pieces = base.unflatten(1, (-1, size))
        return torch.einsum("nrk,rck->nrc", pieces, turned.expand(pieces.shape[1], -1, -1)).flatten(1)

    return Update(name, update.method, update.shape, combine=combine)


def _cayley(entries: Tensor, size: int, terms: int) -> Tensor:
    """Return (I - Q)(I + Q)^-1 of the skew-symmetric matrices with these entries above the diagonal, as PEFT does.

    Args:
        entries: shape (blocks, size * (size - 1) / 2).
        size: rows of a block.
        terms: of the Neumann series I + 2 Q + 2 Q^2 + ... + Q^(terms - 1) in its place; 0: the exact inverse.
    """
    q = torch.zeros(len(entries), size, size, dtype=entries.dtype)
    above = torch.triu_indices(size, size, 1)
    q[:, above[0], above[1]] = entries
    q = q - q.mT
    one = torch.eye(size, dtype=q.dtype).expand_as(q)
    terms = max(terms, 4) if terms > 2 else terms  # PEFT's series of three terms is that of four
    if not terms:
        inverse: Tensor = torch.linalg.solve(one + q, one - q, left=False)
        return inverse
    total, power = one.clone(), one
    for exponent in range(1, terms):
        power = power @ q
        total += power * (1 if exponent == terms - 1 and terms > 2 else 2)
    return total
