"""Models that transformers loads, for the writers: read from a folder or GGUF file, checked, saved whole."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Choice, module_name
from alpha_callbacks.utils.drafts import draft_beside
from alpha_integrations.quantizers.plan_modules import Modules

_COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken")  # tokenizer and its kin; no code, no weights


def load_model(path: Path, extra: str, **options: Any) -> Any:
    """Return the model of a checkpoint folder or .gguf file, in its own dtype unless `options` has another.

    Args:
        path: the checkpoint; no code of it is run.
        extra: extra that brings transformers, for the message.
        options: for `from_pretrained`.

    Raises:
        PlanError: it is quantized already, lacks weights, or is no model that transformers knows.
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("writing a model", extra) from error
    library: Any = transformers  # its annotations of from_pretrained are for a user, not for a wrapper
    gguf = path.suffix.lower() == ".gguf"
    source = {"pretrained_model_name_or_path": path.parent if gguf else path, "local_files_only": True}
    source |= {"gguf_file": path.name} if gguf else {}
    try:
        config = library.AutoConfig.from_pretrained(**source)
        if getattr(config, "quantization_config", None) and not gguf:
            raise PlanError(f"{path}: expected a model that is not quantized. Dequantize it first.")
        architecture = next(iter(config.architectures or []), "")
        family = getattr(library, architecture, library.AutoModelForCausalLM)
        settings = {"dtype": "auto", "use_safetensors": None if gguf else True, **options}
        model, report = family.from_pretrained(**source, **settings, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: expected a model that transformers loads, got {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise PlanError(f"{path}: expected all weights of {architecture}, got none for {missing[0]} ({len(missing)}).")
    if gguf:  # it is dequantized now
        model.config.quantization_config = None
        del model.config.quantization_config
        model.hf_quantizer = None
    return model.eval()


def refuse_left(target: str, modules: Modules) -> None:
    """Raise if the loaded model has matrices to quantize in something else than linear layers.

    Raises:
        PlanError: it has, or the plan is of another model.
    """
    absent = [name for name, path in modules.odd.items() if not path]
    if absent:
        raise PlanError(
            f"{absent[0]}: expected a module of the model, found none of this name ({len(absent)} layers). "
            "Make the plan from a scan of this checkpoint."
        )
    if left := modules.left():
        keep = r"\.experts\." if modules.stacked else "|".join(map(re.escape, sorted(modules.odd)[:3]))
        raise PlanError(
            f"{target}: expected linear layers to quantize, got others: {left}. Recommend again with --keep '{keep}', "
            "or export the plan (vLLM and llm-compressor take experts one by one)."
        )


def check_layers(model: nn.Module, modules: Modules) -> None:
    """Check that the modules to quantize have the shapes of the plan and share no storage.

    Args:
        model: as loaded.
        modules: of the plan, in this model.

    Raises:
        PlanError: one has not, or does.
    """
    embeddings = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    for name, choice in modules.low.items():
        rows = modules.weights[module_name(choice.layer_name)] // max(choice.in_features, 1)
        weight: Any = model.get_submodule(name).weight
        if tuple(weight.shape) != (rows, choice.in_features):
            raise PlanError(
                f"{name}: expected shape {(rows, choice.in_features)} as in the plan, got {tuple(weight.shape)}. "
                "Make the plan from a scan of this checkpoint."
            )
        if any(weight is shared for shared in embeddings):
            raise PlanError(f"{name}: shares its weight with the embedding, as config.json says. Keep it at bf16.")


def check_loads(folder: Path, family: type[Any], target: str) -> None:
    """Load what was written, as its user will: transformers cannot load some of what it saves.

    Args:
        folder: the checkpoint.
        family: class of the model.
        target: name of the format, for the message.

    Raises:
        PlanError: it cannot be loaded.
    """
    try:
        family.from_pretrained(folder, local_files_only=True)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise PlanError(
            f"{target}: expected a checkpoint that transformers loads, but it cannot load these layers when they are "
            f"quantized ({error}). Keep layers of a vision or audio model at 16 bits (recommend --keep), or use "
            "--format torchao."
        ) from error


def planned_dtype(choices: tuple[Choice, ...]) -> torch.dtype | None:
    """Return the dtype of all layers that stay floats, or None if they differ or there are none."""
    dtypes = {choice.format.dtype for choice in choices if not choice.low_bit and not choice.tied_to}
    return next(iter(dtypes)) if len(dtypes) == 1 else None


@contextmanager
def whole_folder(output_dir: Path) -> Iterator[Path]:
    """Yield a folder to write to; it becomes `output_dir` if all goes well and vanishes if not.

    Raises:
        PlanError: something is there already.
    """
    if output_dir.exists() and not (output_dir.is_dir() and next(output_dir.iterdir(), None) is None):
        raise PlanError(f"output_dir {output_dir}: expected a new or empty folder, got one that is not. Name another.")
    with draft_beside(output_dir.absolute()) as draft:
        draft.mkdir()
        yield draft
        if output_dir.exists():
            output_dir.rmdir()
        for file in draft.rglob("*"):  # safetensors makes its files private
            file.chmod(0o755 if file.is_dir() else 0o644)
        draft.rename(output_dir)


def save_companions(source: Path, folder: Path) -> None:
    """Put the tokenizer beside a saved model: the files of a folder as they are, or that of a GGUF file."""
    if source.suffix.lower() == ".gguf":
        import transformers

        transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
        return
    for file in sorted(source.iterdir()):
        wanted = file.is_file() and file.suffix in _COMPANIONS and not file.name.endswith(".index.json")
        if wanted and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
