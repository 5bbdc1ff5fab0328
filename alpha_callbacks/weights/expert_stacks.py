"""Stacks of matrices, as experts are stored: which tensors are one, and which way its matrices lie."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.families import Form, Known, known_of, text_config
from alpha_callbacks.weights.fused_layouts import intermediate_sizes
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

_EXPERTS_3D = re.compile(r"(^|\.)(experts|block_sparse_moe|moe|switch_mlp)\.")
UNCLEAR = "a stack of matrices (out, in) or (in, out): its shape and those beside it fit both"


def is_stack(tensor: StoredTensor, known: Known | None) -> bool:
    """Return True for a tensor of shape (matrices, a, b)."""
    if len(tensor.shape) != 3:
        return False
    if tensor.kind == "stack" or (known is not None and known.form.startswith("experts")):
        return True
    return known is None and _EXPERTS_3D.search(clean_name(tensor.name)) is not None


def stack_forms(tensors: Iterable[StoredTensor], config: Mapping[str, Any]) -> dict[str, Known | None]:
    """Return layer name -> form of each stack that no record of a family explains, None where it cannot be told.

    A matrix of gate and up is (2 * intermediate, hidden), one of down (hidden, intermediate). Where both ways fit, as
    in a square one, the other stacks of the same module decide: they lie alike. Where none fits, the config does not
    say enough, and they are taken to lie as in nn.Linear.
    """
    fitting, beside = dict[str, set[Form]](), dict[str, set[Form]]()
    for tensor in tensors:
        layer = layer_name_of(tensor.name)
        if tensor.kind == "unknown" and is_stack(tensor, None) and known_of(layer, config) is None:
            base, _, last = layer.rpartition(".")
            role = categorize(f"experts.{last}").removeprefix("moe_expert_")
            fitting[layer] = _fitting(role, tensor.shape[1:], config) or {"experts_out_in"}
            if len(fitting[layer]) == 1:
                beside.setdefault(base, set()).update(fitting[layer])
    found = dict[str, Known | None]()
    for layer, forms in fitting.items():
        forms = forms if len(forms) == 1 else beside.get(layer.rpartition(".")[0], forms)
        found[layer] = Known(next(iter(forms))) if len(forms) == 1 else None
    return found


def _fitting(role: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> set[Form]:
    """Return the ways to read a matrix of this role that the config explains."""
    hidden, widths = text_config(config).get("hidden_size"), intermediate_sizes(config)
    roles: dict[str, list[Any]] = {"gate_up": [2 * width for width in widths], "gate": [*widths], "up": [*widths]}
    outs = [hidden] if role == "down" else roles.get(role, [])
    ins = [*widths] if role == "down" else [hidden]
    readings: dict[Form, tuple[int, ...]] = {"experts_out_in": shape, "experts_in_out": shape[::-1]}
    exact = {form for form, (a, b) in readings.items() if a in outs and b in ins}
    return exact or {form for form, (a, _) in readings.items() if a in outs}
