"""Models that transformers loads, for the writers: read from a folder or GGUF file, checked, saved whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import nn

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Choice, Plan, module_name

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


def check_layers(model: nn.Module, plan: Plan, low: frozenset[str]) -> None:
    """Check that a plan is of this model.

    Args:
        model: as loaded.
        plan: with module paths as layer names.
        low: paths of those to be quantized.

    Raises:
        PlanError: a layer is not there, has another shape, or is to be quantized but no nn.Linear.
    """
    modules, parameters = dict(model.named_modules()), {name for name, _ in model.named_parameters()}
    rows: dict[str, int] = {}
    for choice in plan.choices:
        name = module_name(choice.layer_name)
        rows[name] = rows.get(name, 0) + choice.out_features
    absent = [name for name in rows if name not in modules and f"{name}_weight" not in parameters]
    if absent:
        # transformers stacks the experts of many families in one tensor, and cannot load those back beside other
        # modules that are quantized (5.23).
        moe = any(c.category.startswith("moe_") and module_name(c.layer_name) in absent for c in plan.choices)
        why = "transformers stacks the experts of this model" if moe else "Make the plan from a scan of this checkpoint"
        raise PlanError(
            f"{absent[0]}: expected a module of the model, found none of this name ({len(absent)} layers). {why}."
        )
    embeddings = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    for name, choice in plan.modules().items():
        if name in low:
            _check_linear(modules[name], name, (rows[name], choice.in_features))
            if any(modules[name].weight is weight for weight in embeddings):
                raise PlanError(f"{name}: shares its weight with the embedding, as config.json says. Keep it at bf16.")


def _check_linear(module: nn.Module, name: str, shape: tuple[int, int]) -> None:
    if not isinstance(module, nn.Linear):
        raise PlanError(f"{name}: expected nn.Linear, got {type(module).__name__}. Keep it at bf16.")
    if tuple(module.weight.shape) != shape:
        raise PlanError(
            f"{name}: expected shape {shape} as in the plan, got {tuple(module.weight.shape)}. "
            "Make the plan from a scan of this checkpoint."
        )


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
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=f".{output_dir.name}.", suffix=".tmp", dir=output_dir.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes it private
        if output_dir.exists():
            output_dir.rmdir()
        for file in draft.rglob("*"):  # safetensors makes its files private
            file.chmod(0o755 if file.is_dir() else 0o644)
        draft.rename(output_dir)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
