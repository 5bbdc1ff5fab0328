"""A causal language model and its tokenizer, loaded by transformers to be evaluated."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint, weight_files
from alpha_callbacks.errors import CheckpointError, MissingExtraError, OptionError, PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import dtype_of
from alpha_callbacks.utils.machine import device_memory
from alpha_callbacks.weights.weight import is_quantized

TOKENS, CONTEXT = 512, 512
_CHARACTERS_A_TOKEN = 32  # more than any text has on average: so much of a long text is read


@dataclass(frozen=True)
class LanguageModel:
    """A model in eval mode without gradients, and its tokenizer.

    Attributes:
        source: what the user named.
        model: of transformers; its weights may be changed for a while (`Applied`).
        tokenizer: of transformers.
    """

    source: str
    model: nn.Module
    tokenizer: Any

    def windows(self, file: str | Path, *, tokens: int = TOKENS, context: int = CONTEXT, skip: int = 0) -> Tensor:
        """Return the tokens of a text file in windows, see `windows_of`.

        Raises:
            PlanError: the file cannot be read, or is too short.
        """
        try:
            with Path(file).open(encoding="utf-8") as opened:
                text = opened.read((skip + tokens) * _CHARACTERS_A_TOKEN)
        except FileNotFoundError as error:
            raise PlanError(f"{file}: expected a text file, found nothing there.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{file}: expected a text file in UTF-8, got {error}.") from error
        return self.windows_of(text, tokens=tokens, context=context, skip=skip, where=str(file))

    def windows_of(
        self, text: str, *, tokens: int = TOKENS, context: int = CONTEXT, skip: int = 0, where: str = "text"
    ) -> Tensor:
        """Return the tokens of a text in windows of equal length, shape (windows, length).

        What the tokenizer puts before a text by itself (a beginning-of-text token) begins each window.

        Args:
            text: natural text, so that the model has something to predict.
            tokens: in all.
            context: largest length of a window; the model's own limit if that is less.
            skip: tokens left out at the beginning.
            where: what messages call the text.

        Raises:
            OptionError: a number that cannot be used.
            PlanError: the text has too few tokens.
        """
        context = min(context, self._limit(), tokens)
        if context < 2 or skip < 0:
            raise OptionError(f"tokens, context: expected at least 2 tokens a window, got {tokens} and {context}.")
        count = -(-tokens // context)
        first = self._prefix()
        body = tokens // count - len(first)
        if body < 1:
            raise OptionError(f"context: expected more than the {len(first)} tokens that begin a text, got {context}.")
        ids = self._ids(text[: (skip + tokens) * _CHARACTERS_A_TOKEN])
        if len(ids) < skip + count * body:
            raise PlanError(
                f"{where}: expected at least {skip + count * body} tokens, got {len(ids)}. "
                "Give a longer text, or ask for fewer --tokens."
            )
        bodies = torch.tensor(ids[skip : skip + count * body]).view(count, body)
        return torch.cat([torch.tensor(first, dtype=torch.long).expand(count, -1), bodies], dim=1)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _prefix(self) -> list[int]:
        plain, whole = self._ids("a"), list(self.tokenizer("a").input_ids)
        return next((whole[:i] for i in range(len(whole)) if whole[i : i + len(plain)] == plain), [])

    def _limit(self) -> int:
        config = cast(Any, self.model.config).get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or CONTEXT)


def load_language_model(
    source: str | Path, *, device: str = "cpu", dtype: str | None = None, revision: str | None = None
) -> LanguageModel:
    """Load a causal language model. No code of a checkpoint is run.

    Args:
        source: a folder in Hugging Face form, a model id on the hub, or a .gguf file.
        device: torch device.
        dtype: fp64, fp32, fp16 or bf16; None: fp32 if that fits into half of the free memory (the other half is for the
            originals of weights that are changed), else as stored.
        revision: of a model id.

    Raises:
        MissingExtraError: transformers (or gguf, for such a file) is not installed.
        CheckpointError: no causal language model, quantized, damaged, or without tokenizer.
        OptionError: unknown dtype.
    """
    path = locate(source, revision)
    folder, gguf_file = _folder(path)
    hf = _transformers(gguf_file)
    checkpoint = open_checkpoint(path)  # a damaged one is found here, in our words
    wanted = dtype_of(dtype) if dtype is not None else _fitting(checkpoint, device)
    options = {"trust_remote_code": False, **({"gguf_file": gguf_file} if gguf_file else {})}
    here = {**options, "local_files_only": True}
    # A snapshot of the hub holds weights and config only; the tokenizer has to come from there too.
    local = Path(source).exists()
    tokenizer_at, of_tokenizer = (folder, here) if local else (str(source), {**options, "revision": revision or "main"})
    try:
        with _quiet(hf):
            config = hf.AutoConfig.from_pretrained(folder, **here)
            _refuse_quantized(str(source), config, checkpoint)
            _refuse_encoder(str(source), config)
            tokenizer = hf.AutoTokenizer.from_pretrained(tokenizer_at, **of_tokenizer)
            model, info = hf.AutoModelForCausalLM.from_pretrained(
                folder, dtype=wanted, output_loading_info=True, ignore_mismatched_sizes=True, **here
            )
    except (OSError, ValueError, KeyError, ImportError, _config_error()) as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{source}: expected a causal language model with its tokenizer, as transformers loads it, got {first}"
        ) from error
    if absent := sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]):
        raise CheckpointError(
            f"{source}: expected a causal language model, {len(absent)} of its parameters are missing or have shapes "
            f"that do not fit config.json ({absent[0]}, ...). Name a checkpoint of the whole model."
        )
    if gguf_file:  # the weights are plain floats now
        del model.config.quantization_config
        model.hf_quantizer = None
    return LanguageModel(str(source), model.to(device).eval().requires_grad_(False), tokenizer)


def _transformers(gguf_file: str) -> Any:
    """Return the package, with all that it needs there."""
    for name, extra in (("transformers", "hf"), *((("gguf", "gguf"), ("accelerate", "hf")) if gguf_file else ())):
        if find_spec(name) is None:
            raise MissingExtraError("evaluating a language model", extra)
    return import_module("transformers")


def _config_error() -> type[Exception]:
    """Return what transformers raises for a value of a wrong type in config.json."""
    return cast(type[Exception], import_module("huggingface_hub.errors").StrictDataclassError)


def _refuse_encoder(source: str, config: Any) -> None:
    """Raise for BERT and its like, which transformers loads as decoders that see the tokens they should predict."""
    names = [str(name) for name in getattr(config, "architectures", None) or []]
    if masked := next((name for name in names if name.endswith(("ForMaskedLM", "ForPreTraining"))), None):
        raise CheckpointError(f"{source}: expected a causal language model, got {masked}, which sees the whole text.")


def _refuse_quantized(source: str, config: Any, checkpoint: Checkpoint) -> None:
    """Raise for weights that have been rounded before, as `recommend` does."""
    stored = [weight.stored_dtype for weight in checkpoint.inventory(AnalysisOptions()).weights]
    if any(map(is_quantized, stored)) or (getattr(config, "quantization_config", None) and not _is_gguf(checkpoint)):
        raise CheckpointError(
            f"{source}: expected float weights, the checkpoint is quantized. Name the model that it was made from."
        )


def _is_gguf(checkpoint: Checkpoint) -> bool:
    return all(file.suffix.lower() == ".gguf" for file in checkpoint.files)  # transformers calls any of them quantized


def _folder(path: Path) -> tuple[Path, str]:
    """Return the folder to load from, and the name of the GGUF file in it, or ""."""
    files = weight_files(path)
    if files and files[0].suffix.lower() == ".gguf":
        if len(files) > 1:
            raise CheckpointError(f"{path}: expected one GGUF file, got {len(files)} shards. Merge them first.")
        return files[0].parent, files[0].name
    folder = path if path.is_dir() else path.parent
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{path}: expected a folder with config.json, as transformers saves one, or a .gguf file. "
            "Only these say how the model computes."
        )
    return folder, ""


def _fitting(checkpoint: Checkpoint, device: str) -> torch.dtype | str:
    """Return fp32 if that leaves as much memory free as it takes, else what is stored (bf16 for GGUF)."""
    weights = sum(torch.Size(tensor.shape).numel() for tensor in checkpoint.tensors)
    if weights * 4 <= device_memory(device) // 2:
        return torch.float32
    return torch.bfloat16 if checkpoint.files[0].suffix.lower() == ".gguf" else "auto"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and log lines of loading off stderr; what matters of them is checked here."""
    bars, disabled = transformers.utils.logging, logging.root.manager.disable
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        if shown:
            bars.enable_progress_bar()
