"""The tensors of an adapter -> one update per weight that it changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.adapters.lora import adalora, dora, embedding_lora, expert_lora, lora, transposed_lora
from alpha_callbacks.weights.adapters.names import Group, groups_of, place_of
from alpha_callbacks.weights.adapters.other_methods import ia3, loha, lokr, oft, vera
from alpha_callbacks.weights.adapters.scaling import UNKNOWN_SCALE, config_in_header, rank_of, scale_of
from alpha_callbacks.weights.adapters.update import Read, Update
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.sharded import joined
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor

# Beginning of a role -> the method that has it, where there is no formula here.
_METHODS = {"boft_": "BOFT", "oft_": "OFT", "hada_": "LoHa", "lokr_": "LoKr", "vera_": "VeRA", "lora_": "LoRA"}
# Options of PEFT's LoRA with which the change is not scale * B A -> their names.
_VARIANTS = {
    "use_qalora": "QALoRA", "use_bdlora": "BD-LoRA", "kasa_config": "KaSA", "monteclora_config": "MonteCLoRA",
    "arrow_config": "Arrow", "alora_invocation_tokens": "aLoRA (acts on some tokens only)",
}  # fmt: skip
# Initialisations of PEFT that take the first factors out of the base, so that base + B A is not the adapted weight.
_MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_SHARED = ("", "base_model")  # modules of tensors that belong to no layer
_PROMPTS = ("prompt_embeddings", "adaption_prompt", "adaption_gate")
_FACTORS = {  # sets of roles that have a formula
    frozenset(roles.split())
    for roles in (
        "lora_A lora_B", "lora_A lora_B lora_mid", "lora_A lora_B lora_E", "lora_embedding_A lora_embedding_B",
        "lora_a lora_b", "vera_lambda_b vera_lambda_d", "hada_w1_a hada_w1_b hada_w2_a hada_w2_b",
        "hada_w1_a hada_w1_b hada_w2_a hada_w2_b hada_t1 hada_t2", "ia3_l", "oft_R", "diff",
        *(f"{w1} {w2}" for w1 in ("lokr_w1", "lokr_w1_a lokr_w1_b")
          for w2 in ("lokr_w2", "lokr_w2_a lokr_w2_b", "lokr_t2 lokr_w2_a lokr_w2_b")),
    )
}  # fmt: skip
_VECTORS = ("ia3_l", "vera_lambda_b", "vera_lambda_d", "diff")
# Order in which modules of experts define their parameters: PEFT nests its wrappers in that order, the last outside.
_PARAMETERS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Adapter:
    """An adapter by its parts.

    Attributes:
        updates: one per weight that it changes.
        weights: what it holds whole: modules trained in full, biases.
        factors: all other tensors, each with the reason why it is no matrix of its own.
    """

    updates: tuple[Update, ...]
    weights: tuple[StoredTensor, ...]
    factors: tuple[StoredTensor, ...]


def is_adapter(tensors: Sequence[StoredTensor], config: Mapping[str, Any]) -> bool:
    """Return True if tensors are an adapter without its base.

    Args:
        tensors: all of a file or folder.
        config: adapter_config.json as a dict, or empty.
    """
    names = {clean_name(tensor.name) for tensor in tensors}
    groups = groups_of(tensors, _prefix(config))
    owned = ("weight", "base_layer.weight", "qweight", "weight_packed")
    modules = [group.module for group in groups.values() if not group.flat]
    if any(f"{module}.{last}" in names for module in modules for last in owned):
        return False
    factors = sum(len(group.roles) for group in groups.values())
    prompts = any(place in name for name in names for place in _PROMPTS)
    return bool(config and (groups or prompts)) or 2 * factors > sum(len(tensor.shape) > 1 for tensor in tensors)


def read_adapter(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
) -> Adapter:
    """Return the updates of an adapter, and what else it holds.

    Args:
        tensors: of the adapter, not of its base.
        config: adapter_config.json as a dict, or empty.
        metadata: texts in the header of the file.
        scales: module -> factor of its product, where more is known than a config says (a live model).

    Raises:
        CheckpointError: several adapters in one, or a config with values of a wrong kind.
    """
    prefix = _prefix(config)
    check_one(tensors)
    groups = groups_of(tensors, prefix)
    # Of these two the scale is never 1 for want of another: PEFT has a config beside its file, llama.cpp one inside.
    peft = any(tensor.name.startswith("base_model.model.") or ".weight.lora_" in tensor.name for tensor in tensors)
    shared = {
        name.rpartition(".")[2]: t for t in tensors if (name := clean_name(t.name)).endswith(("vera_A", "vera_B"))
    }
    updates = []
    for group in groups.values():
        if _formula(group) and group.module not in _SHARED:
            about = dict(config) or config_in_header(metadata or {}, group.module)
            update = _update(group, groups, about, peft, shared, (scales or {}).get(group.module))
            used = (*group.roles.values(), *(shared.values() if update.method.startswith("VeRA") else ()))
            updates.append(replace(update, sharded=joined(*(tensor.sharded for tensor in used))))
    owner = {id(tensor): group.module for group in groups.values() for tensor in group.roles.values()}
    weights, factors = [], []
    for tensor in tensors:
        name = clean_name(tensor.name)
        if id(tensor) in owner:
            factors.append(replace(tensor, companion=f"factor of the update of {owner[id(tensor)]}"))
        elif name.rpartition(".")[2] in shared:
            factors.append(replace(tensor, companion="matrix that the updates of all layers share"))
        elif any(part in name for part in _PROMPTS):
            method = config.get("peft_type", "prompt tuning")
            updates.append(Update(name, str(method), tensor.shape[:2]).refused("trains prompts and changes no weight"))
            factors.append(replace(tensor, companion="prompts, not a weight"))
        elif "trainable_tokens" in name:
            factors.append(replace(tensor, companion="trained rows of an embedding"))
        else:
            weights.append(tensor)
    return Adapter(tuple(updates), tuple(weights), tuple(factors))


def _prefix(config: Mapping[str, Any]) -> str:
    """Return what the roles of the config's method begin with, for methods that have no formula here."""
    method = str(config.get("peft_type", "")).lower()
    return "" if method in ("", "lora", "adalora", "loha", "lokr", "vera", "ia3", "oft") else f"{method}_"


def _formula(group: Group) -> set[str]:
    """Return the roles that decide the formula: neither the scale nor magnitudes, nor what changes a bias."""
    biases = {role for role in group.roles if role.endswith("bias")}
    return group.roles.keys() - {"alpha", "lora_magnitude_vector", "dora_scale", "diff_b"} - biases


def _update(
    group: Group,
    groups: Mapping[str, Group],
    config: Mapping[str, Any],
    peft: bool,
    shared: Mapping[str, StoredTensor],
    known: float | None,
) -> Update:
    name = f"{group.module.replace('.base_layer.', '.')}.weight"
    magnitude = group.roles.get("lora_magnitude_vector") or group.roles.get("dora_scale")
    found = _formula(group)
    method = _method(found, config)
    refused = Update(name, method, (0, 0))
    if frozenset(found) not in _FACTORS:
        return refused.refused(f"its formula is not computed here ({', '.join(sorted(found))})")
    if ".base_layer." in group.module:
        return refused.refused("inside a MultiheadAttention, where PEFT 0.21 adds it twice and its formula says once")
    if coded := next((tensor for tensor in group.roles.values() if tensor.dtype is None or tensor.packed), None):
        return refused.refused(f"factors stored as {coded.stored_dtype}, which are codes")
    if odd := _without_product(group, found):
        return refused.refused(f"a factor of shape {odd.shape}, which has no product")
    if why := _changes_more(config):
        return refused.refused(why)
    if found == {"ia3_l"}:
        return ia3(group, name)
    if found == {"oft_R"}:
        return oft(group, name, config)
    if "vera_lambda_b" in found:
        return vera(group, name, shared)
    if found == {"diff"}:
        tensor = group.roles["diff"]
        kind: Kind = "conv" if len(tensor.shape) > 2 else "linear"
        rows: dict[str, Read] = {"change": lambda start, stop: tensor.read(start, stop).double()}
        return Update(name, "difference", tensor.shape, rows, kind=kind)
    if "lora_E" in found:
        return adalora(group, name, config, known)
    stacked = _stacked(group, config)
    rank = (0 if stacked else _rank(group, found)) or rank_of(stacked or group.module, config)
    scale = known
    if scale is None:
        scale = scale_of(replace(group, module=stacked or group.module), rank, config, peft=peft)
    if scale is None:
        return _product(group, found, name, 1.0, False).refused(UNKNOWN_SCALE)
    if stacked:
        factors = group.roles["lora_A"].shape[0]
        if stacked == "?" or not rank or factors % rank:
            return refused.refused("which parameter of the module it changes is not known")
        if factors > rank:
            return expert_lora(group, stacked, scale, rank)
        name = stacked
    update = _product(group, found, name, scale, _in_projection(group, groups))
    return dora(update, magnitude) if magnitude is not None else update


def _without_product(group: Group, found: set[str]) -> StoredTensor | None:
    """Return the first tensor that is empty or has fewer dimensions than its role needs, or None."""
    least = {role: 1 if role in _VECTORS or role not in found else 2 for role in group.roles} | {"alpha": 0}
    return next((t for role, t in group.roles.items() if 0 in t.shape or len(t.shape) < least[role]), None)


def _product(group: Group, found: set[str], name: str, scale: float, in_projection: bool) -> Update:
    if "lora_A" in found:
        update = lora(group, name, scale)
        return (
            replace(update, name=name.replace(".weight", ".in_proj_weight"), kind="in_proj")
            if in_projection
            else update
        )
    if "lora_embedding_A" in found:
        return embedding_lora(group, name, scale)
    if "lora_a" in found:
        return transposed_lora(group, name, scale)
    return (lokr if "hada_w1_a" not in found else loha)(group, name, scale)


def _method(found: Iterable[str], config: Mapping[str, Any]) -> str:
    asked = str(config.get("peft_type", "")).upper()
    known = [name for start, name in _METHODS.items() if any(role.startswith(start) for role in found)]
    return " and ".join(known) or asked or "an unknown method"


def _changes_more(config: Mapping[str, Any]) -> str:
    """Return why an adapter of PEFT does more than add its product to the base, or ""."""
    variant = next((text for option, text in _VARIANTS.items() if config.get(option)), "")
    if variant:
        return f"the variant {variant} is not computed here"
    if moved := moves_base(config):
        return f"{moved} Convert it (save_pretrained with path_initial_model_for_weight_conversion)"
    return ""


def moves_base(config: Mapping[str, Any]) -> str:
    """Return why the product of an adapter's factors is not what has changed since its base, or ""."""
    start = str(config.get("init_lora_weights", "")).lower()
    if not start.startswith(_MOVES_BASE):
        return ""
    return f"initialised by {start}, which takes a part out of the base, so that base and product do not add up."


def _rank(group: Group, found: set[str]) -> int:
    """Return the rank that the shapes of the factors have; 0 where they have none (LoKr with two whole factors)."""
    ranked = ("lora_A", "lora_b", "lora_embedding_A", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")
    return next((group.roles[role].shape[0] for role in ranked if role in found), 0)


def _in_projection(group: Group, groups: Mapping[str, Group]) -> bool:
    """Return True for the fused q, k and v of nn.MultiheadAttention, whose output projection has factors of its own."""
    return f"{group.module}.base_layer.out_proj" in groups


def _stacked(group: Group, config: Mapping[str, Any]) -> str:
    """Return the parameter that PEFT's `target_parameters` means here: "?" if in doubt, "" for a module's weight."""
    targets = config.get("target_parameters")
    module, depth = group.module, 0
    while module.endswith(".base_layer"):
        module, depth = module.removesuffix(".base_layer"), depth + 1
    if not isinstance(targets, list) or "lora_A" not in group.roles:
        return ""
    mine = [
        target.rpartition(".")[2]
        for target in map(str, targets)
        if f".{module}".endswith(f".{target.rpartition('.')[0]}") and "." in target
    ]
    if not mine:
        return ""
    if len(mine) > 1 and not set(mine) <= set(_PARAMETERS) or depth >= len(mine):
        return "?"
    inside_out = sorted(mine, key=lambda last: _PARAMETERS.index(last) if last in _PARAMETERS else 0)
    return f"{module}.{inside_out[-1 - depth]}"


def check_one(tensors: Iterable[StoredTensor]) -> None:
    """Refuse tensors of several adapters in one file.

    Raises:
        CheckpointError: more than one.
    """
    names = {place.adapter for tensor in tensors if (place := place_of(tensor.name)) is not None}
    if len(names) > 1:
        raise CheckpointError(
            f"expected one adapter, found {len(names)} in one file ({', '.join(sorted(names))}). Save one of them."
        )
