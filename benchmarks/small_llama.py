"""One small Llama, trained from scratch on the bytes of a text: what benchmarks/layerwise_control.py compares."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alpha_callbacks.control.layerwise_control import LayerwiseControl
from alpha_callbacks.control.parameter_groups import split_per_layer

WARMUP, FLOOR = 0.1, 0.1  # shares of the steps and of the learning rate, as in the configs of LLR
CLIP = 1.0
VALIDATION = 0.05  # of the text, its end
WINDOWS = 2048  # of the validation text


@dataclass(frozen=True)
class Size:
    """Of the model and of its batches."""

    hidden: int
    layers: int
    heads: int
    context: int
    batch: int


@dataclass(frozen=True)
class Run:
    """What is trained: an arm ("baseline" or a rule), its settings, and the seed of weights and batches."""

    arm: str
    lr: float
    weight_decay: float
    seed: int
    steps: int
    every: int | None = None


@dataclass(frozen=True)
class Outcome:
    """Of a run: losses in nats per byte, seconds of the whole and of a decision, mean multiplier at the end."""

    halfway: float
    final: float
    seconds: float
    decisions: int
    seconds_per_decision: float
    multiplier: float


def read_text(path: Path, device: str) -> tuple[Tensor, Tensor]:
    """Return the training and the validation text as bytes on the device."""
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    cut = int(len(data) * (1 - VALIDATION))
    return data[:cut].to(device), data[cut:].to(device)


def train(run: Run, size: Size, text: tuple[Tensor, Tensor], device: str, late: Callable[[], bool]) -> Outcome | None:
    """Train one model; None if it became late."""
    begun = time.monotonic()
    model = new_model(size, run.seed).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=run.lr, betas=(0.9, 0.95), weight_decay=run.weight_decay, fused=device != "cpu"
    )
    split_per_layer(model, optimizer)  # in every arm, so that all make the same steps
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, run.steps))
    control = None
    if run.arm != "baseline":
        control = LayerwiseControl(model, optimizer, run.arm, total_steps=run.steps, every=run.every, threads=2)
    halfway, spent = math.nan, list[float]()
    for step, batch in enumerate(batches(text[0], run, size)):
        decision = control.update(step) if control else None
        spent += [decision.seconds] if decision else []
        if step % 20 == 0 and late():
            return None
        if step == run.steps // 2:
            halfway = validation_loss(model, text[1], size)
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    final = validation_loss(model, text[1], size)
    multiplier = statistics.fmean(control.multipliers.values()) if control else 1.0
    if control:
        control.close()
    each = statistics.fmean(spent) if spent else 0.0
    return Outcome(halfway, final, time.monotonic() - begun, len(spent), each, multiplier)


def new_model(size: Size, seed: int) -> torch.nn.Module:
    """Return a Llama over bytes with fresh weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=size.hidden,
        intermediate_size=size.hidden * 8 // 3 // 64 * 64,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=False,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate: linear warm-up, then a cosine down to the floor."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def batches(text: Tensor, run: Run, size: Size) -> Iterator[Tensor]:
    """Yield batches of context + 1 bytes, the same for every arm of a seed."""
    generator = torch.Generator().manual_seed(run.seed)
    starts = torch.randint(len(text) - size.context - 1, (run.steps, size.batch), generator=generator).to(text.device)
    window = torch.arange(size.context + 1, device=text.device)
    for row in starts:
        yield text[row[:, None] + window].long()


def loss_of(model: torch.nn.Module, batch: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next byte, in nats."""
    logits = model(input_ids=batch[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


@torch.no_grad()
def validation_loss(model: torch.nn.Module, text: Tensor, size: Size) -> float:
    """Return the loss over evenly spread windows of the validation text."""
    count = min(WINDOWS, (len(text) - 1) // size.context)
    starts = torch.linspace(0, len(text) - size.context - 1, count, device=text.device).long()
    window = torch.arange(size.context + 1, device=text.device)
    parts = starts.split(2 * size.batch)
    losses = [loss_of(model, text[part[:, None] + window].long()).double() * len(part) for part in parts]
    return float(torch.stack(losses).sum()) / count
