"""The name of a model that was read from a path."""

import re
from pathlib import Path

SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".tar")  # of files that hold weights
_EVERYWHERE = ("model", "weights", "final", "best", "last", "consolidated", "pytorch_model", "adapter_model")


def model_name(source: str | Path) -> str:
    """Return the name of a model.

    Examples:
        >>> model_name("runs/tiny/checkpoint-5000"), model_name("SmolLM2.Q4_1.gguf"), model_name("org/model-7B")
        ('tiny/checkpoint-5000', 'SmolLM2.Q4_1', 'org/model-7B')
    """
    path = Path(source)
    for part in path.parts:  # the hub's cache: models--org--name/snapshots/<commit>
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    if not path.exists() and not path.is_absolute() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
        return path.stem if path.suffix.lower() in SUFFIXES else str(source)
    try:
        path = path.resolve()
    except ValueError:  # what no file can be called: a damaged run.json says so
        return str(source)
    name = path.stem.removesuffix(".pth") if path.suffix.lower() in SUFFIXES else path.name  # best.pth.tar
    everywhere = name.startswith("checkpoint") or name in _EVERYWHERE
    return f"{path.parent.name}/{name}" if everywhere and path.parent.name else name
