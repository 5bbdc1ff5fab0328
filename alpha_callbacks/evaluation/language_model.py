"""A causal language model and its tokenizer, loaded by transformers to be evaluated."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.errors import CheckpointError, OptionError, PlanError
from alpha_callbacks.evaluation.causal_model import CausalModel
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import dtype_of
from alpha_callbacks.utils.machine import device_memory
from alpha_callbacks.weights.stored_dtype import is_quantized

TOKENS, CONTEXT = 512, 512
_CHARACTERS_A_TOKEN = 32  # more than any text has on average: so much of a long text is read


@dataclass(frozen=True)
class LanguageModel:
    """A model in eval mode without gradients, and its tokenizer.

    Attributes:
        source: what the user named.
        model: of transformers; its weights may be changed for a while (`Applied`).
        tokenizer: of transformers.
        loaded_from: where the model lies, if it was loaded.
    """

    source: str
    model: nn.Module
    tokenizer: Any
    loaded_from: CausalModel | None = field(default=None, repr=False, compare=False)

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
        if len(first) + body < 2:
            raise OptionError(f"tokens: expected at least 2 tokens in each of {count} windows, got {tokens} in all.")
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
    source: str | Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    revision: str | None = None,
    copies: int = 2,
) -> LanguageModel:
    """Load a causal language model. No code of a checkpoint is run.

    Args:
        source: a folder in Hugging Face form, a model id on the hub, or a .gguf file.
        device: torch device.
        dtype: fp64, fp32, fp16 or bf16; None: fp32 if so many copies of it fit into the free memory, else as stored.
        revision: of a model id.
        copies: 2, for the originals of weights that are changed; more where another model is loaded beside it.

    Raises:
        MissingExtraError: transformers (or gguf, for such a file) is not installed.
        CheckpointError: no causal language model, quantized, damaged, or without tokenizer.
        OptionError: unknown dtype.
    """
    found = CausalModel.of(source, revision)
    wanted = dtype_of(dtype) if dtype is not None else _fitting(found.checkpoint, device, copies)
    with found.loading("a causal language model with its tokenizer"):
        _refuse_quantized(found, found.config())
        tokenizer = found.tokenizer()
        model, info = found.library.AutoModelForCausalLM.from_pretrained(
            found.folder, dtype=wanted, output_loading_info=True, ignore_mismatched_sizes=True, **found.options
        )
    return LanguageModel(str(source), found.ready(model, info, device), tokenizer, found)


def _refuse_quantized(found: CausalModel, config: Any) -> None:
    """Raise for weights that have been rounded before, as `recommend` does."""
    stored = [weight.stored_dtype for weight in found.checkpoint.inventory(AnalysisOptions()).weights]
    # transformers calls any GGUF file quantized
    if any(map(is_quantized, stored)) or (getattr(config, "quantization_config", None) and not found.gguf_file):
        raise CheckpointError(
            f"{found.source}: expected float weights, the checkpoint is quantized. Name the model that it was made "
            "from."
        )


def _fitting(checkpoint: Checkpoint, device: str, copies: int) -> torch.dtype | str:
    """Return fp32 if so many copies fit into the free memory, else what is stored (bf16 for GGUF)."""
    weights = sum(torch.Size(tensor.shape).numel() for tensor in checkpoint.tensors)
    if weights * 4 <= device_memory(device) // copies:
        return torch.float32
    return torch.bfloat16 if checkpoint.files[0].suffix.lower() == ".gguf" else "auto"
