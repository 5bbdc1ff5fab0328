"""Hugging Face Trainer: the tiny Llama on real text, with or without LoRA.

python examples/train_hf.py
python examples/train_hf.py --lora
tensorboard --logdir results/train_hf

On your own model: --model meta-llama/Llama-3.1-8B (needs the memory that training takes).
"""

import argparse
from pathlib import Path
from typing import Any

import corpus
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from alpha_callbacks import AlphaHillTrainerCallback
from alpha_callbacks.checkpoints.locate import EMBEDDED


def main() -> None:
    """Train for some steps; the callback finds the Trainer's own TensorBoard writer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EMBEDDED), help="folder or model id (default: the embedded tiny Llama)")
    parser.add_argument("--output-dir", type=Path, default=Path("results/train_hf"))
    parser.add_argument("--max-steps", type=int, default=30)
    parser.add_argument("--lora", action="store_true", help="train adapters; the frozen base is analysed once")
    options = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    if options.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"]))
    text = corpus.blocks(torch.tensor(tokenizer(corpus.read(), verbose=False)["input_ids"]), 64)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(options.output_dir),
            max_steps=options.max_steps,
            save_steps=max(1, options.max_steps // 3),
            logging_steps=5,
            learning_rate=1e-3,
            per_device_train_batch_size=8,
            report_to=["tensorboard"],
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=[{"input_ids": block, "labels": block} for block in text],
        callbacks=[AlphaHillTrainerCallback()],
    )
    trainer.train()
    print(f"CSV in {options.output_dir}/alpha_hill; look at it: tensorboard --logdir {options.output_dir}")


if __name__ == "__main__":
    main()
