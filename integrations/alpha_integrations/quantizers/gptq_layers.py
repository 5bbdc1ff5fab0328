"""The layers of a loaded model that GPTQ rounds, for the writers of checkpoints, and what it says of the others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.input_moments import input_products
from alpha_callbacks.evaluation.language_model import LanguageModel
from alpha_callbacks.planning.plan import Choice
from alpha_callbacks.planning.write_model import Rounding
from alpha_callbacks.precisions.gptq_rounding import Codes, gptq_codes, takes
from alpha_integrations.quantizers.plan_modules import encoding_of

_ENOUGH = (
    8  # tokens a column of the widest layer: with as many GPTQ helped, with 3 it did not always (docs/evidence.md)
)
_OTHERS = "{} layers are rounded to nearest, since GPTQ here is for symmetric integers by group or row: {}."


def gptq_layers(
    model: Path, loaded: Any, low: Mapping[str, Choice], rounding: Rounding, dtype: torch.dtype | None, target: str
) -> tuple[dict[str, Codes], tuple[str, ...]]:
    """Return module path -> codes, for the layers that GPTQ rounds, and notes on all.

    The inputs are those of the model before any rounding, in fp32. It is left as found.

    Args:
        model: where it was loaded from; its tokenizer is there.
        loaded: a causal language model of transformers.
        low: module path -> choice, those to be quantized.
        rounding: the text.
        dtype: of stored scales; None: that of each weight.
        target: name of the format, for messages.

    Raises:
        PlanError: the text or the tokenizer cannot be used, no layer can be rounded so, or inputs, weights or scales
            are not finite.
    """
    wanted = {name: choice for name, choice in low.items() if takes(encoding_of(choice, target))}
    if not wanted:
        formats = ", ".join(sorted({choice.precision for choice in low.values()}))
        raise PlanError(
            f"{target}: expected symmetric integers by group or row for GPTQ, got {formats}. Leave out --rounding, or "
            "recommend again with --candidates such as int4,int8."
        )
    windows = LanguageModel(str(model), loaded, _tokenizer(model)).windows(rounding.calibration, tokens=rounding.tokens)
    modules = {name: loaded.get_submodule(name) for name in wanted}
    dtypes = {name: dtype or module.weight.dtype for name, module in modules.items()}
    codes, unseen = dict[str, Codes](), list[str]()
    with _in_float32(loaded):
        for name, products in input_products(loaded, modules, windows):
            if not products.any():
                unseen.append(name)
                continue
            encoding = encoding_of(wanted[name], target)
            try:
                codes[name] = gptq_codes(
                    modules[name].weight.detach().cpu(), products, encoding, scale_dtype=dtypes[name]
                )
            except (ValueError, RuntimeError) as error:
                raise PlanError(f"{name}: {error}. Round it to nearest: leave out --rounding.") from error
    return codes, _notes(codes, unseen, {n: c for n, c in low.items() if n not in wanted}, rounding, windows.numel())


def _notes(
    codes: Mapping[str, Codes], unseen: list[str], others: Mapping[str, Choice], rounding: Rounding, tokens: int
) -> tuple[str, ...]:
    notes = [
        f"GPTQ rounded {len(codes)} layers by their inputs on {tokens:,} tokens of {rounding.calibration}. Errors of "
        "single weights are larger than those measured, those of outputs smaller on such text. On text of another kind "
        "they can be larger too: judge it on yours with `alpha-hill evaluate MODEL --against CHECKPOINT --text FILE`."
    ]
    widest = max((each.integers.shape[1] for each in codes.values()), default=0)
    if tokens < _ENOUGH * widest:
        notes.append(
            f"{tokens:,} tokens are few for layers of {widest} columns: GPTQ may fit them alone, and be worse than "
            f"rounding to nearest on other text. Give a longer text and --tokens {_ENOUGH * widest} or more."
        )
    if unseen:
        notes.append(
            f"{len(unseen)} layers had no input on this text and are rounded to nearest, e.g. {unseen[0]}: experts "
            "that no token was sent to, or parts of a model that texts do not reach."
        )
    if dead := {name: each.dead for name, each in codes.items() if each.dead}:
        notes.append(
            f"{sum(dead.values())} columns of {len(dead)} layers had no input and are rounded to nearest, e.g. of "
            f"{next(iter(dead))}."
        )
    if others:
        notes.append(_OTHERS.format(len(others), ", ".join(sorted({choice.precision for choice in others.values()}))))
    return tuple(notes)


def _tokenizer(model: Path) -> Any:
    import transformers

    library: Any = transformers
    gguf = model.suffix.lower() == ".gguf"
    source = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name} if gguf else {}
    try:
        return library.AutoTokenizer.from_pretrained(
            **(source or {"pretrained_model_name_or_path": model}), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = str(error).strip().partition("\n")[0]
        raise PlanError(f"{model}: expected a tokenizer for the calibration text, got {first}") from error


@contextmanager
def _in_float32(model: nn.Module) -> Iterator[None]:
    """Have all parameters in fp32 for a while; each goes back to its own dtype, bit for bit."""
    dtypes = {parameter: parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    try:
        for parameter in dtypes:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter, dtype in dtypes.items():
            parameter.data = parameter.data.to(dtype)
