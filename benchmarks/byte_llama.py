"""A second trained language model for the evidence: a Llama of 5.4 M weights over bytes, trained here once, then kept.

    python -m benchmarks.byte_llama --device cuda    # prints the folder

It is trained on Python's reference and news articles, without any line of the texts that plans are judged or
calibrated on (benchmarks/texts.py).
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor

from benchmarks import texts
from benchmarks.small_llama import CLIP, Run, Size, batches, loss_of, new_model, schedule
from scripts.fetch_real_weights import GENSIM, default_cache, fetch

FOLDER = "byte-llama-5m"
MOMENTS = "adamw_second_moments.json"  # of the end of training, beside the model
SIZE = Size(hidden=256, layers=7, heads=4, context=256, batch=32)
RUN = Run("baseline", lr=2e-3, weight_decay=0.1, seed=0, steps=1000)


def training_text(news: Path, kept_aside: Sequence[str]) -> str:
    """Return the text to train on: nothing of it is in the texts that are kept aside, line by line."""
    aside = {line.strip() for text in kept_aside for line in text.splitlines()}
    whole = "\n".join([*dict.fromkeys(topics.values()), news.read_text(encoding="utf-8")])
    return "\n".join(dict.fromkeys(line for line in whole.splitlines() if line.strip() not in aside))


def windows(text: str, tokens: int, *, context: int = SIZE.context) -> Tensor:
    """Return the first bytes of a text, shape (tokens / context, context)."""
    data = torch.tensor(list(text.encode()[: tokens // context * context]))
    return data.view(-1, context)


def make_model(cache: Path, news: Path, device: str = "cpu") -> Path:
    """Return the folder of the trained model, made if the cache lacks it."""
    folder = cache / FOLDER
    if not (folder / "model.safetensors").exists():
        text = training_text(news, [text.text for text in texts.kept_aside(news)])
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        print(f"{len(data):,} bytes to train on", flush=True)
        model, optimizer = _train(data, device)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MOMENTS).write_text(json.dumps(_moments(model, optimizer), indent=1) + "\n", encoding="utf-8")
        model.cpu().to(torch.bfloat16).save_pretrained(folder)  # type: ignore[operator]
    return folder


def _moments(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return parameter -> sum of AdamW's running means of squared gradients."""
    return {
        name: float(optimizer.state[parameter]["exp_avg_sq"].double().sum())
        for name, parameter in model.named_parameters()
    }


def _train(data: Tensor, device: str) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model, started = new_model(SIZE, RUN.seed).to(device), time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RUN.lr, betas=(0.9, 0.95), weight_decay=RUN.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, RUN.steps))
    for step, batch in enumerate(batches(data, RUN, SIZE)):
        loss = loss_of(model, batch.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.3f} nats a byte, {time.monotonic() - started:.0f} s", flush=True)
    return model, optimizer


def main() -> None:
    """Train the model if need be and print where it is."""
    parser = argparse.ArgumentParser(description="Train the second model of the evidence, once.")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s, which takes two hours)")
    args, cache = parser.parse_args(), default_cache()
    print(f"byte_llama={make_model(cache, fetch(GENSIM, 'lee_background.cor', cache), args.device)}")


if __name__ == "__main__":
    main()
