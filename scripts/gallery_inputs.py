"""What the gallery has beside pages: a training run and the cards of a logger, by whatever code is on the path.

`scripts.gallery` runs it once with its own code and once with that of an earlier version, so it imports nothing else of
the scripts::

    python scripts/gallery_inputs.py train FOLDER
    python scripts/gallery_inputs.py cards SCAN FOLDER
"""

import sys
from pathlib import Path


def train(folder: Path) -> None:
    """Train the architecture of the embedded model from scratch for 60 states on the text of the examples."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    import corpus
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    from alpha_callbacks import AlphaHillTrainerCallback
    from alpha_callbacks.checkpoints.locate import EMBEDDED

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(EMBEDDED))
    text = corpus.blocks(torch.tensor(tokenizer(corpus.read(), verbose=False)["input_ids"]), 64)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=236, save_strategy="no", logging_steps=4, learning_rate=2e-3,
        per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(EMBEDDED))),
        args=arguments,
        train_dataset=[{"input_ids": block, "labels": block} for block in text],
        callbacks=[AlphaHillTrainerCallback(every=4, precisions="fp32", images=False)],
    )
    trainer.train()
    trainer.save_state()  # with the loss, which the page shows


def draw_cards_of(scan: Path, folder: Path) -> None:
    """Write the cards that TensorBoard and W&B would get if the scanned model were a state of a run."""
    from PIL import Image

    from alpha_callbacks.plots.cards.draw_cards import draw_cards
    from alpha_callbacks.tables.read_results import read_results

    folder.mkdir(exist_ok=True)
    for name, pixels in draw_cards(read_results(scan), title="step 1000").items():
        Image.fromarray(pixels).save(folder / f"{name}.png")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]))
    else:
        draw_cards_of(Path(sys.argv[2]), Path(sys.argv[3]))
