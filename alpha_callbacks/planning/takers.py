"""Which targets can take a plan, or formats that may become one: asked of the exporters, before any work is done."""

from collections.abc import Sequence
from dataclasses import replace

from alpha_callbacks.errors import AlphaCallbacksError
from alpha_callbacks.planning.export_plan import export_plan, targets
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_sentences import listed
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.utils import plugins

_BY_LLAMA_CPP = (
    " For a GGUF file, convert the model with llama.cpp's convert_hf_to_gguf.py and give llama-quantize the plan: "
    "`alpha-hill export PLAN --format gguf -o FILE`."
)
_SIZE = 256  # rows and columns that the blocks of every format divide


def takers(plan: Plan) -> dict[str, str]:
    """Return target -> "" if it can take a plan, else its refusal. Names are not compared with those of the model."""
    nameless = replace(plan, model="")  # so that no exporter looks at the model, which takes seconds
    return {target: _refusal(nameless, target) for target in targets()[1:]}


def held_formats(formats: Sequence[str], *, gguf: bool = False) -> dict[str, tuple[str, ...]]:
    """Return target -> those of some formats that it can hold in a linear layer; targets that hold none are left out.

    Args:
        formats: names of low-bit precisions.
        gguf: the layers are those of a GGUF file.
    """
    layer = Choice("blk.0.ffn_up" if gguf else "layers.0.mlp.up_proj", "mlp_up", _SIZE, _SIZE, "bf16")
    found = {}
    for target in targets()[1:]:
        held = [name for name in formats if not _refusal(Plan((replace(layer, precision=name),)), target)]
        if held:
            found[target] = tuple(held)
    return found


def say_formats(formats: Sequence[str], *, gguf: bool = False) -> tuple[str, bool]:
    """Say which targets can take plans of some formats, and whether any can take all of them."""
    names = [name for name in formats if get_precision(name).low_bit]
    held = held_formats(names, gguf=gguf)
    if whole := [target for target, some in held.items() if len(some) == len(names)]:
        return f"A plan of {listed(names)} can be exported to {listed(whole)}.", True
    remedy = " Scan with formats of llama.cpp instead, such as -p bf16,gguf:q8_0,gguf:q4_0." if gguf else ""
    if not held:
        return f"No target takes {listed(names, 'or')}: a plan of them can be evaluated, not exported.{remedy}", False
    parts = "; ".join(f"{target} takes {listed(some)}" for target, some in held.items())
    return f"No target takes all of {listed(names)}: {parts}. `recommend --candidates` chooses among them.", False


def say_plan(plan: Plan) -> tuple[str, bool]:
    """Say which targets can take a plan, and whether any can."""
    if not any(choice.low_bit for choice in plan.choices):
        return "Every layer stays at 16 bits: there is nothing to quantize.", False
    refusals = takers(plan)
    taking = [target for target, refusal in refusals.items() if not refusal]
    gguf = any(choice.layer_name.startswith("blk.") for choice in plan.choices)
    if not taking:
        why = refusals.get("gguf" if gguf else "compressed-tensors", "") or next(iter(refusals.values()), "")
        return f"No target takes this plan: it can be evaluated, not exported. {why}", False
    written = [name for name in plugins.names("writers") if name in taking and (gguf or name != "gguf")]
    by = f" `alpha-hill quantize --format` writes {listed(written)}." if written else ""
    by += _BY_LLAMA_CPP if "gguf" in taking and not gguf else ""
    return f"This plan can be exported to {listed(taking)}.{by}", True


def _refusal(plan: Plan, target: str) -> str:
    try:
        export_plan(plan, target)
    except AlphaCallbacksError as error:
        return str(error)
    return ""
