"""Which names the weights of a set of tensors have."""

from functools import partial

import pytest
import torch

from alpha_callbacks.weights.inventory import take_inventory
from alpha_callbacks.weights.stored_tensor import StoredTensor


def names(*parameters: str) -> list[str]:
    """Return the layer names of matrices, and of vectors that end in .bias or stand alone."""
    tensors = []
    for name in parameters:
        values = torch.ones(4, 4) if name.endswith(".weight") else torch.ones(4)
        read = partial(lambda values, start, stop: values[start:stop], values)
        tensors.append(StoredTensor(name, tuple(values.shape), torch.float32, "float32", read))
    return [weight.layer_name for weight in take_inventory(tensors, {}).weights]


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "_forward_module.module.", "module._orig_mod."])
def test_a_wrapper_around_all_is_left_out(prefix: str) -> None:
    assert names(f"{prefix}fc1.weight", f"{prefix}fc1.bias", f"{prefix}fc2.weight") == ["fc1", "fc2"]
    assert names(f"model.{prefix}fc1.weight", f"model.{prefix}fc2.weight") == ["model.fc1", "model.fc2"]


def test_numbers_beside_the_matrices_do_not_keep_a_wrapper() -> None:
    assert names("n_averaged", "module.fc1.weight", "module.fc2.weight") == ["fc1", "fc2"]


@pytest.mark.parametrize(
    "kept",
    [
        ("module.fc1", "head"),
        ("model.module.fc1", "model.head"),
        ("blocks.0.module.fc1", "blocks.1.module.fc1"),
        ("model.layers.0.module", "model.layers.1.module"),
    ],
)
def test_a_module_of_that_name_within_the_model_stays(kept: tuple[str, ...]) -> None:
    assert names(*(f"{name}.weight" for name in kept)) == list(kept)
