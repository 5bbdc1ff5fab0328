"""What the callback costs a training run: between checkpoints, at a checkpoint, and as a share of the run.

    python -m benchmarks.training                # the tiny Llama, minutes
    python -m benchmarks.training --smollm2      # SmolLM2-135M's shapes too, 10 minutes

All figures of one table come from one process; runs with and without the callback alternate. A step is the time from
one `on_train_batch_start` to the next; "quiet" steps are those in which nothing is measured.
"""

import argparse
import gc
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from transformers import LlamaConfig, LlamaForCausalLM

from alpha_callbacks import AlphaHillCallback

TINY = dict(
    vocab_size=1024, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
    num_key_value_heads=2,
)  # fmt: skip
SMOLLM2 = dict(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, tie_word_embeddings=True,
)  # fmt: skip
HOOKS = [name for name in vars(L.Callback) if name.startswith("on_") or name in ("setup", "teardown")]
STALL = 0.002  # seconds; no hook that measures nothing takes as long
OPTIONS: dict[str, dict[str, Any]] = {
    "synchronous": {},
    "background": {"background": True},
    "sync, TensorBoard": {"sinks": ["csv", "tensorboard"]},
    "bg., TensorBoard": {"sinks": ["csv", "tensorboard"], "background": True},
}


class Llama(L.LightningModule):
    """A Llama of given shapes on random tokens."""

    def __init__(self, shapes: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = LlamaForCausalLM(LlamaConfig(**shapes))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss."""
        loss: torch.Tensor = self.model(input_ids=batch[0], labels=batch[0]).loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Clock(L.Callback):
    """Times steps, and marks those in which a watched callback measured something."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._last: float | None = None

    def on_train_batch_start(self, *args: Any) -> None:
        """Close the last step."""
        now = time.perf_counter()
        if self._last is not None:
            self.steps.append(now - self._last)
        self._last = now


@contextmanager
def timed_hooks(callback: L.Callback) -> Iterator[list[float]]:
    """Collect the seconds of every hook call of a callback."""
    spent: list[float] = []

    def timed(hook: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                spent.append(time.perf_counter() - begun)

        return run

    for name in HOOKS:
        setattr(callback, name, timed(getattr(callback, name)))
    yield spent


def run(shapes: dict[str, Any], steps: int, every: int, tokens: tuple[int, int], **options: Any) -> dict[str, Any]:
    """Train for some steps with a checkpoint every so many; return times in seconds."""
    watched = options.pop("watched", True)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        callbacks: list[L.Callback] = [clock]
        spent: list[float] = []
        callback = None
        if watched:
            callback = AlphaHillCallback(sinks=options.pop("sinks", ["csv"]), output_dir=f"{folder}/alpha", **options)
            callbacks.append(callback)
        callbacks.append(ModelCheckpoint(folder, every_n_train_steps=every, save_top_k=1, save_weights_only=True))
        trainer = L.Trainer(
            accelerator="cpu", max_steps=steps, logger=False, callbacks=callbacks, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=Path(folder),
        )  # fmt: skip
        data = DataLoader(
            TensorDataset(torch.randint(0, shapes["vocab_size"], (tokens[0] * steps, tokens[1]))), tokens[0]
        )
        begun = time.perf_counter()
        if callback is None:
            trainer.fit(Llama(shapes), data)
        else:
            with timed_hooks(callback) as spent:
                trainer.fit(Llama(shapes), data)
        total = time.perf_counter() - begun
    gc.collect()
    measured = callback.monitor.last.seconds if callback and callback.monitor.last else 0.0
    quiet = [s for i, s in enumerate(clock.steps) if (i + 1) % every and i > 2]
    return {"total": total, "quiet": quiet, "hooks": spent, "analysis": measured}


def compare(name: str, shapes: dict[str, Any], steps: int, every: int, tokens: tuple[int, int], pairs: int) -> None:
    """Print the table of one model."""
    quiet: dict[bool, list[float]] = {False: [], True: []}
    idle: list[float] = []
    for pair in range(2 * pairs):
        watched = pair % 2 == 1
        result = run(shapes, steps, steps * 2, tokens, watched=watched)
        quiet[watched] += result["quiet"]
        idle += [sum(s for s in result["hooks"] if s < STALL) / steps] * watched
    plain, attached = statistics.median(quiet[False]), statistics.median(quiet[True])
    hooks = statistics.median(idle)
    size = sum(p.numel() for p in Llama(shapes).parameters()) / 1e6
    print(f"{name}: {size:.1f} M parameters, batches of {tokens[0]} x {tokens[1]} tokens")
    print(f"  step without the callback          {plain * 1e3:9.2f} ms  (median of {len(quiet[False])})")
    print(f"  step with it, between checkpoints  {attached * 1e3:9.2f} ms  ratio {attached / plain:.4f}")
    print(f"  its hooks in such a step           {hooks * 1e6:9.1f} us  {hooks / plain:.6f} of a step")
    for label, options in OPTIONS.items():
        result = run(shapes, steps, every, tokens, **options)
        stalls = [s for s in result["hooks"] if s >= STALL]
        # Not the first (start) nor the last (end, which waits for the worker): those of checkpoints in mid-training.
        stall = sum(stalls[1:-1]) / ((steps - 1) // every)
        share = stall / (stall + 500 * plain)
        print(
            f"  {label:<18} stall per checkpoint {stall:7.3f} s = {stall / plain:6.1f} steps;"
            f" share of a run with one every 500 steps {share:.3%}; analysis {result['analysis']:.2f} s"
        )


def quiet_down() -> None:
    """Keep what Lightning says of small runs out of the figures."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", action="store_true")
    options = parser.parse_args()
    quiet_down()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32 + fp16 + bf16")
    compare("tiny Llama", TINY, steps=60, every=20, tokens=(8, 64), pairs=4)
    if options.smollm2:
        compare("SmolLM2-135M shapes", SMOLLM2, steps=14, every=6, tokens=(2, 64), pairs=2)


if __name__ == "__main__":
    main()
