"""A small Hugging Face run: a Llama of two blocks that trains for six steps."""

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")


def model() -> Any:
    """Return the same fresh Llama every time."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def data(count: int = 12) -> list[dict[str, Any]]:
    """Return `count` sequences of 8 tokens."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, 96, (8,), generator=generator) for _ in range(count)]
    return [{"input_ids": row, "labels": row} for row in rows]


def trainer(folder: Path, callbacks: list[Any], net: Any = None, **options: Any) -> Any:
    """Return a quiet CPU Trainer: 2 epochs of 3 steps."""
    defaults: dict[str, Any] = dict(
        output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=4, num_train_epochs=2,
        logging_steps=1, disable_tqdm=True, save_strategy="steps", save_steps=2, learning_rate=1e-2, seed=3,
    )  # fmt: skip
    args = transformers.TrainingArguments(**{**defaults, **options})
    run = transformers.Trainer(
        model=net or model(), args=args, train_dataset=data(), eval_dataset=data(4), callbacks=list(callbacks)
    )
    run.remove_callback(transformers.PrinterCallback)
    return run
