"""What the worker scripts share: a small transformer, the job, a report; imported by the tests too."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import alpha_callbacks.analysis.parallel
from alpha_callbacks import AnalysisOptions, Monitor
from alpha_callbacks.tables.table import Table

OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))
RANK = int(os.environ.get("RANK", "0"))
FOLDER = Path(os.environ.get("ALPHA_TEST_FOLDER", "."))
DIM = 48


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.o_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.o_proj(torch.tanh(self.q_proj(x)))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(DIM, 2 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(torch.relu(self.up_proj(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp, self.norm = Attention(), Mlp(), nn.LayerNorm(DIM)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x))
        return self.drop(x + self.mlp(x))


class Tiny(nn.Module):
    """Embedding, two blocks, rows that 2 does not divide (33), fewer rows than ranks (1), a head, tied on request."""

    def __init__(self, *, tied: bool = False, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.embed_tokens = nn.Embedding(64, DIM)
        self.layers = nn.ModuleList([Block(), Block()])
        self.gate, self.score = nn.Linear(DIM, 33), nn.Linear(DIM, 1)
        self.lm_head = nn.Linear(DIM, 64, bias=False)
        if tied:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        extra = self.gate(x).pow(2).mean() + self.score(x).pow(2).mean()
        return nn.functional.cross_entropy(self.lm_head(x).flatten(0, 1), ids.flatten()) + extra


def batch(step: int, rank: int = RANK) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randint(0, 64, (2, 8), generator=generator)


def train(model: nn.Module, steps: int, look: Any = lambda step: None, *, rank: int = RANK) -> list[float]:
    """Return the losses; `look` is called before the first step, between backward and step, and after each step."""
    torch.manual_seed(7 + rank)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    look(0)
    for step in range(steps):
        loss = model(batch(step, rank))
        loss.backward()
        look(10 * step + 5)
        optimizer.step()
        optimizer.zero_grad()
        look(10 * step + 10)
        losses.append(loss.item())
    return losses


def join(seconds: float = 30) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=seconds))


def report(**values: Any) -> None:
    """Tell the test; the last thing a worker does."""
    time.sleep(0.1)  # torch 2.13 aborts a process that ends within milliseconds of a gloo collective, of ours or not
    (FOLDER / f"report_{RANK}.json").write_text(json.dumps(values))


def alphas(table: Table) -> dict[str, Any]:
    """Return all that is computed of each row, exact in JSON; nan as text, so that it equals itself."""
    return {
        f"{row.layer_name}|{row.precision}": [
            *(repr(value) for value in (row.alpha, row.x_min, row.frobenius_norm, row.spectral_norm, row.stderr)),
            *(row.status, row.category, row.out_features, row.in_features, row.stored_dtype, row.tied_to),
        ]
        for row in table
    }


def measured(model: nn.Module, options: AnalysisOptions = OPTIONS) -> dict[str, Any]:
    """Return what one process alone finds, in table order."""
    with Monitor(options, sinks=[], on_error="raise") as monitor:
        snapshot = monitor.log(model, 0)
    assert snapshot is not None
    return alphas(snapshot.table)


@contextmanager
def analysed() -> Iterator[list[str]]:
    """Record the layers that this process analyses."""
    names: list[str] = []
    real = alpha_callbacks.analysis.parallel.analyze_weight

    def spy(weight: Any, *others: Any) -> Any:
        names.append(weight.layer_name)
        return real(weight, *others)

    alpha_callbacks.analysis.parallel.analyze_weight = spy
    try:
        yield names
    finally:
        alpha_callbacks.analysis.parallel.analyze_weight = real


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Return all that reading must leave alone: what this rank holds, bit for bit, grads, flags, random state."""

    def bits(tensor: Tensor | None) -> tuple[Any, ...] | None:
        if tensor is None:
            return None
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        return tuple(local.shape), local.detach().clone().flatten().view(torch.uint8).numpy().tobytes()

    return {
        "held": [(name, type(p).__name__, bits(p), bits(p.grad)) for name, p in model.named_parameters()],
        "buffers": [(name, bits(buffer)) for name, buffer in model.named_buffers()],
        "flags": [(name, child.training) for name, child in model.named_modules()],
        "requires": [(name, p.requires_grad) for name, p in model.named_parameters()],
        "random": torch.get_rng_state().numpy().tobytes(),
    }
