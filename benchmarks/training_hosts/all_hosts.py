"""The hosts of the table, in its order; what a host needs is imported when it runs."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.training_hosts.host import Copies, Host, Trained

_LIGHTNING = "callbacks=[AlphaHillCallback()]"
_HF = "callbacks=[AlphaHillTrainerCallback()]"
_LOOP = "monitor.log(model, step)"


def _later(place: str) -> Callable[[Path, bool, Copies], Trained]:
    """Return a function that imports the module of the one it stands for when it is called."""
    module, _, name = place.partition(":")

    def train(folder: Path, attached: bool, copies: Copies) -> Trained:
        trained: Trained = getattr(import_module(f"benchmarks.training_hosts.{module}"), name)(folder, attached, copies)
        return trained

    return train


HOSTS = {
    host.name: host
    for host in (
        Host("plain loop", _LOOP, ("tensorboard", "wandb"), _later("loops:plain")),
        Host("loop like nanoGPT's", _LOOP, ("tensorboard",), _later("loops:like_nanogpt")),
        Host("Lightning", _LIGHTNING, ("lightning", "tensorboard", "wandb"), _later("lightning_hosts:trainer")),
        Host("LightningCLI", "class_path: …", ("lightning", "jsonargparse"), _later("lightning_hosts:cli")),
        Host("Fabric", _LOOP, ("lightning", "tensorboard"), _later("loops:fabric")),
        Host("HF Trainer", _HF, ("transformers", "tensorboard", "wandb"), _later("hf_hosts:trainer")),
        Host("HF Seq2SeqTrainer", _HF, ("transformers", "tensorboard"), _later("hf_hosts:seq2seq")),
        Host(
            "sentence-transformers",
            _HF,
            ("sentence_transformers", "datasets"),
            _later("hf_hosts:sentence_transformers"),
        ),
        Host("TRL SFT", _HF, ("trl",), _later("hf_hosts:sft")),
        Host("TRL DPO", _HF, ("trl",), _later("hf_hosts:dpo")),
        Host("TRL GRPO", _HF, ("trl",), _later("hf_hosts:grpo")),
        Host("accelerate, DDP, 2 ranks", _LOOP, ("accelerate", "tensorboard"), _later("loops:accelerate_ddp")),
        Host("FSDP2 with DCP, 2 ranks", _LOOP, ("tensorboard",), _later("loops:fsdp2")),
        Host("ray.train", _LOOP, ("ray",), _later("ray_host:trainer")),
    )
}
