"""Hugging Face's Trainer on two processes, measuring the model and, with a second callback, the saved files."""

from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
from tests.distributed.worker import FOLDER, RANK, alphas, report


class Ids(Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(0, 64, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


class Teller(AlphaHillTrainerCallback):
    def __init__(self, **options: Any) -> None:
        super().__init__(precisions="fp32,bf16", sinks=["csv"], on_error="raise", **options)
        self.told: list[Any] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state)
        super().on_step_begin(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_end(args, state, control, **kwargs)
        self._tell(state)

    def _tell(self, state: Any) -> None:
        """Keep what was measured after the last save, which is only done once all other callbacks have been told."""
        last = self.monitor.last
        if last is not None and last.event != "start" and last.step not in [told[1] for told in self.told]:
            self.told.append([state.global_step, last.step, last.event, alphas(last.table)])


def main() -> None:
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    live = Teller(output_dir=FOLDER / f"live_{RANK}")
    files = Teller(output_dir=FOLDER / f"files_{RANK}", weights="checkpoint")
    arguments = TrainingArguments(
        output_dir=str(FOLDER / "run"),
        max_steps=4,
        save_steps=2,
        per_device_train_batch_size=2,
        learning_rate=0.05,
        use_cpu=True,
        ddp_backend="gloo",
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=Ids(), callbacks=[live, files]).train()
    report(live=live.told, files=files.told)


if __name__ == "__main__":
    main()
