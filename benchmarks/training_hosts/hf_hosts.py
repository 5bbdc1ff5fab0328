"""Hugging Face's Trainer and those derived from it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from alpha_callbacks import AlphaHillTrainerCallback
from benchmarks.training_hosts.host import (
    PRECISIONS,
    Copies,
    Trained,
    read_safetensors,
    tensorboard_steps,
    wandb_steps,
)

WORDS = ["the quick brown fox jumps over the lazy dog", "a fox is quick and a dog is lazy"]
Common = dict[str, Any]


class MidRun(TrainerCallback):
    """Copies the callback in mid-run."""

    def __init__(self, ours: Any, copies: Copies) -> None:
        self._ours, self._copies = ours, copies

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Copy."""
        if state.global_step == 3:
            self._copies.make("during", self._ours)


def llama() -> Any:
    """Return the same fresh Llama every time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=128, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def tokenizer() -> Any:
    """Return one that knows ASCII letters."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    known = ["<pad>", "<s>", "</s>", "<unk>", *map(chr, range(32, 127))]
    letters = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(known)}, merges=[], unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _run(
    folder: Path,
    attached: bool,
    copies: Copies,
    make: Callable[[Common, list[Any]], Any],
    *,
    wandb: bool = False,
    tied: Mapping[str, str] = MappingProxyType({}),
) -> Trained:
    """Train 4 steps with a checkpoint at every second one.

    Args:
        folder: of the run.
        attached: with the callback.
        copies: to make.
        make: (arguments, callbacks) -> a trainer.
        wandb: report to W&B too.
        tied: heads whose rows have their own name, and the table that the file has in their place.
    """
    os.environ["WANDB_DIR"] = str(folder.parent)  # wandb reads it once, for both runs of this process
    ours = AlphaHillTrainerCallback(precisions=PRECISIONS)
    common: Common = dict(
        output_dir=str(folder), max_steps=4, save_steps=2, logging_steps=1, per_device_train_batch_size=2, seed=3,
        report_to=["tensorboard", *(["wandb"] if wandb else [])], use_cpu=True, disable_tqdm=True, learning_rate=1e-2,
    )  # fmt: skip
    trainer = make(common, [ours, MidRun(ours, copies)] if attached else [])
    if attached:
        copies.make("before", ours)
    trainer.train()
    saved = {step: {**read_safetensors(folder / f"checkpoint-{step}")} for step in (2, 4)}
    for tensors in saved.values():
        tensors |= {head: tensors[table] for head, table in tied.items()}
    state = trainer.model.state_dict()
    if wandb:
        import wandb as package

        package.finish()
    if not attached:
        return Trained(state, saved)
    copies.make("after", ours)
    heard = {"TensorBoard": tensorboard_steps(folder), **({"W&B": wandb_steps(folder.parent)} if wandb else {})}
    return Trained(state, saved, ours.monitor.output_dir, heard)


def _tokens(count: int) -> Any:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(3, 96, (8,), generator=generator) for _ in range(count)]
    return [{"input_ids": row, "labels": row} for row in rows]


def trainer(folder: Path, attached: bool, copies: Copies) -> Trained:
    """`Trainer` with two reporters."""

    def make(common: Common, callbacks: list[Any]) -> Any:
        return Trainer(model=llama(), args=TrainingArguments(**common), train_dataset=_tokens(16), callbacks=callbacks)

    return _run(folder, attached, copies, make, wandb=True)


def seq2seq(folder: Path, attached: bool, copies: Copies) -> Trained:
    """Seq2SeqTrainer, which generates in its evaluations."""
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments
    from transformers.models.t5 import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=128, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0
    )  # fmt: skip

    def make(common: Common, callbacks: list[Any]) -> Any:
        args = Seq2SeqTrainingArguments(
            **common, predict_with_generate=True, eval_strategy="steps", eval_steps=2, generation_max_length=6
        )
        return Seq2SeqTrainer(
            model=T5ForConditionalGeneration(config), args=args, train_dataset=_tokens(16), eval_dataset=_tokens(2),
            callbacks=callbacks,
        )  # fmt: skip

    return _run(folder, attached, copies, make, tied={"lm_head.weight": "shared.weight"})


def sentence_transformers(folder: Path, attached: bool, copies: Copies) -> Trained:
    """SentenceTransformerTrainer on a BERT with a dense layer behind it."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
        models,
    )
    from transformers.models.bert import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    source = folder / "source"
    BertModel(config).save_pretrained(source)
    tokenizer().save_pretrained(source)
    model = SentenceTransformer(modules=[models.Transformer(str(source)), models.Pooling(32)], device="cpu")
    data = Dataset.from_dict({"anchor": WORDS * 8, "positive": WORDS[::-1] * 8})

    def make(common: Common, callbacks: list[Any]) -> Any:
        return SentenceTransformerTrainer(
            model=model, args=SentenceTransformerTrainingArguments(**common), train_dataset=data,
            loss=losses.MultipleNegativesRankingLoss(model), callbacks=callbacks,
        )  # fmt: skip

    return _run(folder, attached, copies, make)


def sft(folder: Path, attached: bool, copies: Copies) -> Trained:
    """TRL's supervised fine-tuning."""
    import trl
    from datasets import Dataset

    def make(common: Common, callbacks: list[Any]) -> Any:
        return trl.SFTTrainer(
            model=llama(), args=trl.SFTConfig(**common, bf16=False, max_length=32), processing_class=tokenizer(),
            train_dataset=Dataset.from_dict({"text": WORDS * 8}), callbacks=callbacks,
        )  # fmt: skip

    return _run(folder, attached, copies, make)


def dpo(folder: Path, attached: bool, copies: Copies) -> Trained:
    """TRL's DPO, with a reference model beside the one in training."""
    import trl
    from datasets import Dataset
    from transformers import LlamaForCausalLM

    source = folder / "source"
    llama().save_pretrained(source)
    data = Dataset.from_dict({"prompt": WORDS * 8, "chosen": [" yes"] * 16, "rejected": [" no no"] * 16})

    def make(common: Common, callbacks: list[Any]) -> Any:
        return trl.DPOTrainer(
            model=LlamaForCausalLM.from_pretrained(source), args=trl.DPOConfig(**common, bf16=False, max_length=96),
            train_dataset=data, processing_class=tokenizer(), callbacks=callbacks,
        )  # fmt: skip

    return _run(folder, attached, copies, make)


def grpo(folder: Path, attached: bool, copies: Copies) -> Trained:
    """TRL's GRPO, which generates in every step."""
    import trl
    from datasets import Dataset

    def reward(completions: list[str], **kwargs: Any) -> list[float]:
        return [float(len(set(completion))) for completion in completions]

    def make(common: Common, callbacks: list[Any]) -> Any:
        args = trl.GRPOConfig(
            **{**common, "per_device_train_batch_size": 4}, bf16=False, max_completion_length=6, num_generations=4
        )
        return trl.GRPOTrainer(
            model=llama(), args=args, train_dataset=Dataset.from_dict({"prompt": WORDS * 8}), reward_funcs=reward,
            processing_class=tokenizer(), callbacks=callbacks,
        )  # fmt: skip

    return _run(folder, attached, copies, make)
