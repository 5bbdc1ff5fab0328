"""Lightning: a small language model on real text, watched in TensorBoard, W&B (offline) and CSV.

python examples/train_lightning.py
tensorboard --logdir results/train_lightning

The only line for alpha-Hill is the callback. To watch your own run, put `AlphaHillCallback()` into your Trainer.
"""

import argparse
from pathlib import Path

import corpus
import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from alpha_callbacks import AlphaHillCallback


class Transformer(nn.Module):
    """Predicts the next byte: (batch, length) -> (batch, length, 256)."""

    def __init__(self, width: int = 96, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.lm_head = nn.Linear(width, 256, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        """Return the logits."""
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1], device=text.device)
        logits: Tensor = self.lm_head(self.encoder(self.embedding(text), mask=mask, is_causal=True))
        return logits


class LanguageModel(L.LightningModule):
    """Trains a transformer on bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Transformer()

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the mean loss a byte."""
        text = batch[0]
        loss = nn.functional.cross_entropy(self.model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    """Train for some steps with three destinations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("results/train_lightning"))
    parser.add_argument("--max-steps", type=int, default=120)
    parser.add_argument("--no-wandb", action="store_true")
    options = parser.parse_args()

    L.seed_everything(0)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    loggers: list[Logger] = [TensorBoardLogger(options.output_dir, name="tensorboard", version="")]
    if not options.no_wandb:
        loggers.append(WandbLogger(save_dir=options.output_dir, project="alpha-hill", offline=True))
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=options.max_steps,
        logger=loggers,
        log_every_n_steps=10,
        callbacks=[
            AlphaHillCallback(output_dir=options.output_dir / "alpha_hill"),
            ModelCheckpoint(
                options.output_dir / "checkpoints", every_n_train_steps=options.max_steps // 3, save_top_k=-1
            ),
        ],
    )
    data = DataLoader(TensorDataset(corpus.characters()), batch_size=16, shuffle=True)
    trainer.fit(LanguageModel(), data)
    print(f"CSV in {options.output_dir}/alpha_hill; look at it: tensorboard --logdir {options.output_dir}")


if __name__ == "__main__":
    main()
