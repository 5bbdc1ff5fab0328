"""The weight matrices of a live model as views that can be written, found by the names of a scan or a plan."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.plan import module_name
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.module_weights import module_inventory


class Layer(Protocol):
    """What names a weight: a `Choice` of a plan, a `Row` of a table, a `Weight`."""

    @property
    def layer_name(self) -> str:
        """Module path without ".weight"."""

    @property
    def out_features(self) -> int:
        """Rows."""

    @property
    def in_features(self) -> int:
        """Columns."""


@dataclass(frozen=True)
class Target:
    """A matrix of a model that layers of a plan or table are in.

    Attributes:
        layers: one, or all parts of a fused matrix whose rows are not stored part by part.
        matrix: shape (out_features, in_features), the model's own storage.
        tied: True if it is an embedding table at the same time.
    """

    layers: tuple[Layer, ...]
    matrix: Tensor
    tied: bool = False


def matrices(model: nn.Module, *, include_embeddings: bool = False) -> dict[str, Tensor]:
    """Return layer name -> weight, shape (out_features, in_features), as views of the model's own storage.

    The names are those of a scan of the model. A part of a fused matrix is a view of its rows; where these are not one
    piece (grouped q, k, v of NeoX, BLOOM, Falcon) the whole module stands for its parts, under its own name. Computed
    weights (weight_norm, ...) and sharded ones are left out.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    whole = {clean_name(path): getattr(module, "weight", None) for path, module in model.named_modules()}
    found: dict[str, Tensor] = {}
    for weight in module_inventory(model, AnalysisOptions(include_embeddings=include_embeddings)).weights:
        if weight.unsupported or weight.sharded is not None:
            continue
        name, view = weight.layer_name, weight.rows(0, weight.out_features)
        if view.untyped_storage().data_ptr() in own:
            found[name] = view
            continue
        fused = whole.get(module_name(weight.source_name or name))
        # A parameter of another dtype holds codes, into which decoded values cannot be written.
        if isinstance(fused, nn.Parameter) and fused.ndim == 2 and fused.dtype is weight.dtype:
            found[module_name(name)] = fused.detach()
    return found


def targets(model: nn.Module, layers: Sequence[Layer], *, all_of_them: bool = True) -> list[Target]:
    """Return the matrices that the layers of a plan or table are in.

    They may come from a scan of the model, of its checkpoint or of its GGUF file, which name some layers differently.

    Args:
        model: any module.
        layers: by their names in a table or a plan.
        all_of_them: False leaves out those that the model lacks or that cannot be written.

    Raises:
        PlanError: the model has no such layer, or one of another shape.
        MissingExtraError: the names are those of GGUF, and its package is not installed.
    """
    found = matrices(model, include_embeddings=True)
    gguf = any(layer.layer_name.startswith("blk.") for layer in layers)
    by_alias = {alias: name for name in found for alias in (_gguf_aliases if gguf else _aliases)(name, model)}
    inside: dict[str, list[Layer]] = {}
    for layer in layers:
        known = (by_alias.get(_plain(name)) for name in (layer.layer_name, module_name(layer.layer_name)))
        inside.setdefault(next((name for name in known if name is not None), ""), []).append(layer)
    absent = inside.pop("", [])
    if absent and all_of_them:
        raise PlanError(
            f"{absent[0].layer_name}: expected a layer of the model, it has none of this name that can be written "
            f"({len(absent)} of {len(layers)} layers). Scan this model and make the plan from that."
        )
    for name, group in inside.items():
        shape = (sum(layer.out_features for layer in group), group[0].in_features)
        if shape != (actual := tuple(found[name].shape)):
            raise PlanError(
                f"{group[0].layer_name}: expected a weight of shape {shape}, as scanned, got {actual}. "
                "Scan this model and make the plan from that."
            )
    tied = _tied_tables(model)
    return [Target(tuple(group), found[name], found[name].data_ptr() in tied) for name, group in inside.items()]


def _tied_tables(model: nn.Module) -> set[int]:
    """Return the addresses of embedding tables that are weights of other modules too."""
    tables, others = set[int](), set[int]()
    for module in model.modules():
        found = tables if isinstance(module, nn.Embedding | nn.EmbeddingBag) else others
        found.update(parameter.data_ptr() for parameter in module.parameters(recurse=False))
    return tables & others


_EXPERT = re.compile(r"(experts\.\d+)\.(?:gate_up_proj\.)?(gate|up|w1|w2|w3)$")
_OF_EXPERT = {"w1": "gate", "w2": "down", "w3": "up"}


def _plain(name: str) -> str:
    """Return a layer name in one of the spellings that checkpoints and the classes of transformers have for it.

    Examples:
        >>> _plain("model.layers.0.block_sparse_moe.experts.3.w1"), _plain("m.mlp.experts.3.gate_up_proj.gate")
        ('model.layers.0.mlp.experts.3.gate_proj', 'm.mlp.experts.3.gate_proj')
    """
    name = name.replace(".block_sparse_moe.", ".mlp.")
    return _EXPERT.sub(lambda match: f"{match[1]}.{_OF_EXPERT.get(match[2], match[2])}_proj", name)


def _aliases(name: str, model: Any) -> Iterator[str]:
    """Yield the name and the one without "model." or "transformer.", which checkpoints of a base model leave out."""
    plain = _plain(name)
    yield plain.removeprefix(f"{getattr(model, 'base_model_prefix', '')}.")
    if plain == "lm_head":
        yield "embed_out"  # NeoX
    yield plain


_STACKED = re.compile(r"\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj$")


def _gguf_aliases(name: str, model: Any) -> Iterator[str]:
    """Yield what llama.cpp calls a layer, if it knows it."""
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("a plan with the layer names of GGUF", "gguf") from error
    if expert := _STACKED.search(_plain(name)):
        yield f"blk.{expert[1]}.{expert[2]}.ffn_{expert[3]}_exps"
        return
    config = model.config.get_text_config()
    wanted = str(config.model_type).replace("_", "")
    archs = {arch_name.replace("-", "").replace("_", ""): arch for arch, arch_name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(archs.get(wanted, gguf.MODEL_ARCH.LLAMA), config.num_hidden_layers)
    module = module_name(name)
    if found := names.get_name(f"{module}.weight", try_suffixes=(".weight",)):
        yield found.removesuffix(".weight") + name.removeprefix(module)
