"""The examples run as they are documented, and what they logged is what a scan of the saved checkpoint says."""

import csv
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from alpha_callbacks.planning.plan_json import read_plan
from tests.conftest import REPOSITORY, noise
from tests.support import warm
from tests.support.ranks import run_ranks
from tests.support.scan_runs import scanned_table

for package in ("lightning", "transformers", "accelerate", "peft", "tensorboard", "wandb"):
    pytest.importorskip(package)

EXAMPLES = REPOSITORY / "examples"
CARDS = "alpha_callbacks.plots.cards.draw_cards"
TRAINING = ("alpha_callbacks.training.monitor", "alpha_callbacks.sinks.csv_sink", "pandas")
CHARTS = ("matplotlib.pyplot", "torch._dynamo", "torch.utils.tensorboard", *TRAINING, CARDS)
NO_DRAWING = "tests.support.no_drawing"  # of the examples, `hf, lora` draws its cards
LIGHTNING = ("lightning.pytorch.loggers", "pytorch_lightning", "wandb", "wandb.apis.public", *CHARTS)
TRAINER = ("transformers.trainer", "transformers.models.llama.modeling_llama", "accelerate", "peft", *CHARTS)


def history(folder: Path) -> dict[int, dict[tuple[str, str], str]]:
    """Return step -> (layer, precision) -> alpha as printed."""
    found: dict[int, dict[tuple[str, str], str]] = {}
    with (folder / "alpha_hill_history.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(int(row["step"]), {})[row["layer_name"], row["precision"]] = row["alpha"]
    return found


def scanned(checkpoint: Path, folder: Path, precisions: set[str]) -> dict[tuple[str, str], str]:
    table = scanned_table(checkpoint, folder, sorted(precisions))
    return {(row.layer_name, row.precision): f"{row.alpha:.12g}" for row in table}


@pytest.mark.parametrize(
    ("command", "imports", "logs", "checkpoints"),
    [
        (["train_lightning.py", "--max-steps", "3"], LIGHTNING, "alpha_hill", "checkpoints/*step={}.ckpt"),
        (["train_hf.py", "--max-steps", "2"], TRAINER, "alpha_hill", "checkpoint-{}"),
        (["train_hf.py", "--max-steps", "2", "--lora"], TRAINER, "alpha_hill", ""),
        (["train_pytorch.py", "--max-steps", "40"], CHARTS, ".", "step_{}.pt"),
        (["train_pytorch.py", "--max-steps", "40"], CHARTS, ".", "step_{}.pt"),
        (["train_fsdp2.py", "--max-steps", "2"], LIGHTNING, "alpha_hill", "checkpoints/*step={}.ckpt"),
    ],
    ids=["lightning", "hf", "hf, lora", "pytorch", "pytorch, 2 processes", "fsdp2, 2 processes"],
)
def test_training_examples(
    command: list[str],
    imports: tuple[str, ...],
    logs: str,
    checkpoints: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name, *options = command
    arguments = [EXAMPLES / name, *options, "--output-dir", tmp_path]
    first = () if "--lora" in options else (NO_DRAWING,)
    if "2 processes" in request.node.name:  # Lightning would start the second as it is started here, by its variables
        said, silent = run_ranks(arguments, tmp_path, imports=(*imports, "pytest"), first=first)
        assert "CSV in" in said and "CSV in" not in silent
    else:
        environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1"}
        done = warm.run(arguments, imports=(*imports, "pytest"), first=first, environment=environment, timeout=280)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "CSV in" in done.stdout
    steps = history(tmp_path / logs)
    assert len(steps) >= 3 and min(steps) == 0
    for step in sorted(steps)[1:] if checkpoints else []:
        (checkpoint,) = tmp_path.glob(checkpoints.format(step))
        precisions = {precision for _, precision in steps[step]}
        expected = scanned(checkpoint, tmp_path / f"scan{step}", precisions)
        # A bare state dict does not say that "0.weight" is an embedding; the live model does.
        assert steps[step] == {key: expected[key] for key in steps[step]}
        assert {layer for layer, _ in expected.keys() - steps[step].keys()} <= {"0"}


def test_scan_example(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    few = tiny_checkpoint({f"layers.{i}.fc1.weight": noise(40, 30, seed=i) for i in range(3)})
    done = warm.run(
        [EXAMPLES / "scan_llama31_8b.py", few, tmp_path / "out"], imports=(*CHARTS, *warm.COMMAND), folder=tmp_path
    )
    assert done.returncode == 0 and "alpha_ratio" in done.stdout, done.stderr
    assert "layers.2.fc1" in done.stdout and any((tmp_path / "out" / "plots").rglob("*.png"))


def test_quantization_example(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    transformers = pytest.importorskip("transformers")
    command = [EXAMPLES / "quantize.py", "--output-dir", tmp_path, "--avg-bits", "6"]
    done = warm.run(command, imports=(*TRAINER, *warm.COMMAND, "compressed_tensors"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Policy fisher" in done.stdout and "4 random plans" in done.stdout
    plan = read_plan(tmp_path / "plan.json")
    assert abs(plan.average_bits() - 6) <= 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert config["quantization_config"]["ignore"] == ["lm_head"]
    assert type(model).__name__ == "LlamaForCausalLM"
