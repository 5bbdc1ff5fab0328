"""llama.cpp: a file for `llama-quantize --tensor-type-file`, one line per tensor."""

import re

from alpha_callbacks.planning.export_plan import Coverage, Export
from alpha_callbacks.planning.plan import Plan, module_name
from alpha_integrations.quantizers.gguf_names import TIES, left_out, tensor_types

_EMBEDDING = "token_embd.weight"
_NOTES = (
    "Run: llama-quantize --tensor-type-file FILE MODEL.gguf OUT.gguf Q8_0. The last word must be a quantized type, "
    "without --pure, or the file has no effect; tensors that the file does not name get that type.",
    "MODEL.gguf should hold 16 or 32 bits; one that is quantized already needs --allow-requantize and loses twice.",
)


def export(plan: Plan) -> Export:
    r"""Return lines such as `^blk\.0\.ffn_up\.weight$=q4_0`; llama-quantize lower-cases names and searches for them.

    Raises:
        PlanError: no ggml type holds a choice, or a name is unknown.
        MissingExtraError: the plan has module paths and the package gguf is not installed.
    """
    kinds = {tensor: found.kind for tensor, found in tensor_types(plan).items()}
    kinds.setdefault(_EMBEDDING, "bf16")
    lines = [f"^{re.escape(tensor.lower())}$={kind}" for tensor, kind in kinds.items()]
    notes = _NOTES + ((TIES,) if "mxfp4" in kinds.values() else ())
    return Export("\n".join(lines) + "\n", ".txt", notes, _coverage(plan))


def _coverage(plan: Plan) -> Coverage:
    other = set(left_out(plan))
    low = [(module_name(choice.layer_name) in other, choice.numel) for choice in plan.choices if choice.low_bit]
    planned, left = sum(numel for _, numel in low), sum(numel for outside, numel in low if outside)
    why = f"{len(other)} layers of a vision or audio model are in a file of their own (mmproj)"
    return Coverage("llama-quantize", planned - left, planned, plan.numel, why if left else "")
