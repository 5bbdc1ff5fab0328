"""Train the tiny Llama that ships in ``alpha_callbacks/assets/tiny_llama``.

The text is Python's own ``pydoc_data.topics``, so the script needs no network and no data files.  It trains a
byte-level BPE tokenizer and a two-million-parameter ``LlamaForCausalLM`` on it, and saves both with a README::

    python scripts/make_tiny_llama.py --output alpha_callbacks/assets/tiny_llama
"""

import argparse
import hashlib
import json
import math
import platform
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

VOCAB_SIZE = 1024
BATCH_SIZE = 16
SEQUENCE_LENGTH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
WARMUP_FRACTION = 0.05
HELD_OUT_FRACTION = 0.05
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

README = """# tiny_llama

A {parameters:,}-parameter `LlamaForCausalLM` (4 layers, hidden 192, 6 heads over 2 key-value heads, vocabulary 1024,
untied `lm_head`: 29 linear weight matrices) with its byte-level BPE tokenizer.  It is a really trained network small
enough to ship, for tests and examples; it is not useful as a language model.

- Made by: `python scripts/make_tiny_llama.py --steps {steps} --seed {seed} --threads {threads}`
  (Python {python}, torch {torch}, transformers {transformers})
- Text: Python's `pydoc_data.topics`, entries joined in sorted key order; the tokenizer is trained on all of it, the
  model on the first 95 % of its {tokens:,} tokens.  The last 5 % are held out.
- Training: {steps} steps of AdamW (learning rate {learning_rate}, weight decay {weight_decay}, betas 0.9 and 0.95) on
  {batch_size} x {sequence_length} tokens, cosine schedule with warm-up, fp32 on the CPU; saved in bf16.
- sha256 of `model.safetensors`: `{sha256}`

Mean next-token loss in nats over at most 128 evenly spaced windows of 128 tokens, the trained row in bf16 as saved (a
uniform guess scores ln 1024 = 6.93).  Training passes over its text about {epochs} times, hence some of the gap.

|           | train | held out |
| --------- | ----- | -------- |
| untrained | {train_before:.3f} | {held_out_before:.3f}    |
| trained   | {train_after:.3f} | {held_out_after:.3f}    |

The text is part of the Python documentation, copyright Python Software Foundation, under the PSF License Agreement
(<https://docs.python.org/3/license.html>).
"""


def read_text() -> str:
    """Return the training text: every ``pydoc`` topic, joined in sorted key order."""
    return "\n".join(topics[key] for key in sorted(topics))


def train_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on ``text``.

    Args:
        text: The text to learn the merges from.

    Returns:
        The tokenizer, with beginning, end and padding tokens set.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Build the untrained model.

    Args:
        tokenizer: The tokenizer whose special-token ids the config records.
        seed: The seed of the initial weights.

    Returns:
        The model, in fp32.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, tokens: torch.Tensor, limit: int = 128) -> float:
    """Return the mean next-token loss over evenly spaced, non-overlapping windows of ``tokens``.

    Args:
        model: The model to evaluate.
        tokens: A one-dimensional tensor of token ids.
        limit: The most windows to use.

    Returns:
        The loss in nats per token.
    """
    windows = tokens[: len(tokens) // SEQUENCE_LENGTH * SEQUENCE_LENGTH].view(-1, SEQUENCE_LENGTH)
    windows = windows[:: math.ceil(len(windows) / limit)]
    model.eval()
    losses = [model(input_ids=window[None], labels=window[None]).loss.item() for window in windows]
    model.train()
    return float(sum(losses) / len(losses))


def train(model: LlamaForCausalLM, tokens: torch.Tensor, held_out: torch.Tensor, steps: int, seed: int) -> None:
    """Train ``model`` in place on random windows of ``tokens``.

    Args:
        model: The model to train.
        tokens: The training token ids, one-dimensional.
        held_out: The held-out token ids, for the printed losses only.
        steps: The number of optimizer steps.
        seed: The seed of the window positions.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    norms = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY)
    scheduler = get_cosine_schedule_with_warmup(optimizer, math.ceil(WARMUP_FRACTION * steps), steps)
    offsets = torch.arange(SEQUENCE_LENGTH)
    started = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - SEQUENCE_LENGTH + 1, (BATCH_SIZE, 1), generator=generator)
        batch = tokens[starts + offsets]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0 or step == steps:
            seconds = time.monotonic() - started
            held_out_loss = mean_loss(model, held_out)
            print(f"step {step}: batch {loss.item():.3f}, held out {held_out_loss:.3f}, {seconds:.0f} s", flush=True)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path) -> str:
    """Write the model and the tokenizer to ``output``, without a generation config.

    Args:
        model: The trained model, already in bf16.
        tokenizer: Its tokenizer.
        output: The folder to write to.

    Returns:
        The SHA-256 of ``model.safetensors``, in hexadecimal.
    """
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    weights = output / "model.safetensors"
    weights.chmod(0o644)
    (output / "generation_config.json").unlink(missing_ok=True)
    for path in output.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("_name_or_path", None)
        if path.name == "tokenizer_config.json":
            content["tokenizer_class"] = "PreTrainedTokenizerFast"  # transformers 4 does not know the newer name
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def main() -> None:
    """Train the model, save it and write its README."""
    parser = argparse.ArgumentParser(description="Train and save the tiny Llama asset.")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps")
    parser.add_argument(
        "--output", type=Path, default=Path("alpha_callbacks/assets/tiny_llama"), help="folder to write to"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and the batches")
    parser.add_argument("--threads", type=int, default=1, help="torch CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    text = read_text()
    tokenizer = train_tokenizer(text)
    tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False, verbose=False))
    split = round(len(tokens) * (1 - HELD_OUT_FRACTION))
    training, held_out = tokens[:split], tokens[split:]
    model = build_model(tokenizer, args.seed)
    print(f"{len(tokens):,} tokens, {model.num_parameters():,} parameters")

    before = mean_loss(model, training), mean_loss(model, held_out)
    print(f"untrained: train {before[0]:.3f}, held out {before[1]:.3f}", flush=True)
    train(model, training, held_out, args.steps, args.seed)
    model = model.bfloat16()
    after = mean_loss(model, training), mean_loss(model, held_out)
    print(f"trained, in bf16: train {after[0]:.3f}, held out {after[1]:.3f}")

    sha256 = save(model, tokenizer, args.output)
    readme = README.format(
        parameters=model.num_parameters(),
        steps=args.steps,
        seed=args.seed,
        threads=args.threads,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        tokens=len(tokens),
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        batch_size=BATCH_SIZE,
        sequence_length=SEQUENCE_LENGTH,
        sha256=sha256,
        epochs=round(args.steps * BATCH_SIZE * SEQUENCE_LENGTH / len(training)),
        train_before=before[0],
        held_out_before=before[1],
        train_after=after[0],
        held_out_after=after[1],
    )
    (args.output / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
