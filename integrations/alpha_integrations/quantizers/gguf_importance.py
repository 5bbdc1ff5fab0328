"""The importance matrix of a GGUF file: how much each column of a tensor counts, by what it is multiplied with."""

from pathlib import Path

import numpy as np
from torch import nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.input_moments import input_squares
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.evaluation.writable_weights import targets
from alpha_callbacks.planning.plan import Plan, module_name
from alpha_callbacks.planning.write_model import Rounding
from alpha_integrations.quantizers.gguf_names import renamer


def importance_matrix(file: Path, plan: Plan, rounding: Rounding) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return tensor name -> mean squares of its inputs, shape (columns,), and notes; llama.cpp's `imatrix`.

    Args:
        file: the GGUF file, of a language model that transformers knows.
        plan: names the layers.
        rounding: the text.

    Raises:
        PlanError: the plan or the text cannot be used, an input is not finite, or no tensor to quantize gets one.
        CheckpointError: transformers cannot load the file.
        MissingExtraError: transformers is not installed.
    """
    low = [choice for choice in plan.choices if choice.low_bit]
    rename = renamer([module_name(choice.layer_name) for choice in low])
    loaded = load_language_model(file)
    windows = loaded.windows(rounding.calibration, tokens=rounding.tokens)
    linear = {
        module.weight.untyped_storage().data_ptr(): module
        for module in loaded.model.modules()
        if isinstance(module, nn.Linear)
    }
    modules, left = dict[str, nn.Module](), dict[str, None]()
    for target in targets(loaded.model, low):
        tensor = rename(module_name(target.layers[0].layer_name))
        if module := linear.get(target.matrix.untyped_storage().data_ptr()):
            modules[tensor] = module
        else:
            left[tensor] = None  # experts, which transformers stacks
    found = {name: squares.numpy() for name, squares in input_squares(loaded.model, modules, windows).items()}
    if not found:
        raise PlanError(
            f"{file}: expected linear layers with inputs for an importance matrix, got none. Leave out --rounding."
        )
    notes = [
        f"{len(found)} tensors are rounded by the mean squares of their inputs on {windows.numel():,} tokens of "
        f"{rounding.calibration} (llama.cpp's imatrix). Errors of single weights are other than those measured."
    ]
    left.update(dict.fromkeys(name for name in modules if name not in found))
    if left:
        notes.append(
            f"{len(left)} tensors are rounded to nearest, e.g. {next(iter(left))}: transformers has them in no linear "
            "layer, or no token came to it."
        )
    return found, tuple(notes)
