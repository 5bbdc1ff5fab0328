"""Under which names transformers writes the tensors of a live model: its own rules, read at run time.

Since version 5 a model of transformers may hold its weights in another way than its files do (experts stacked, q, k
and v apart, other modules around them), and `save_pretrained` turns this back. The rules are data: renamings, and
converters with the operations that they do.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from alpha_callbacks.weights.fused_layouts import split_equally, split_halves
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of, numbered

_INDEX = "987654321"  # stands for the index of an expert while names are rewritten: no name has it
_ORDER_OF_ROWS = {"PermuteForRope", "Interleave"}  # operations that leave the singular values as they are


@dataclass(frozen=True)
class Rules:
    """What `save_pretrained` of one model does to names, the last rule first.

    Attributes:
        renamings: each is applied.
        converters: at most one is applied, before.
        left_out: parameter paths that are not written, since they share the storage of another.
    """

    renamings: Sequence[Any]
    converters: Sequence[Any]
    left_out: frozenset[str] = frozenset()

    def renamed(self, name: str) -> str:
        """Return a name after all renamings."""
        for rule in self.renamings:
            name = rule.rename_source_key(name)[0]
        return name

    def saved(self, tensor: StoredTensor, name: str) -> StoredTensor:
        """Return a tensor under the name that it is saved under, with the names of the matrices that it is saved as.

        Args:
            tensor: of the live model.
            name: its parameter path in the model.
        """
        for converter in self.converters:
            found, pattern = converter.rename_source_key(name)
            if pattern is not None:
                return self._converted(tensor, name, found, converter)
        renamed = self.renamed(name)
        return tensor if renamed == tensor.name else replace(tensor, name=renamed)

    def _converted(self, tensor: StoredTensor, name: str, first: str, converter: Any) -> StoredTensor:
        """Return a tensor that a converter takes, unconverted where what it does is not known here.

        Args:
            tensor: of the live model.
            name: its parameter path.
            first: the name of the (first) tensor that comes out.
            converter: of transformers, reversed.
        """
        sources, targets = converter.source_patterns, converter.target_patterns
        operations = [(type(op).__name__, getattr(op, "dim", None)) for op in converter.operations]
        done = [op for op in operations if op[0] not in _ORDER_OF_ROWS]
        before, mark, after = first.partition(targets[0])
        names = [self._layer(f"{before}{target}{after}") for target in targets] if mark else [self._layer(first)]
        plain = replace(tensor, name=self.renamed(name))
        if len(sources) == 1 and done in ([("SplitModulelist", 0)], [("Chunk", 1), ("SplitModulelist", 0)]):
            return self._stack(plain, names) if len(tensor.shape) == 3 else plain
        if len(sources) == 1 and done == [("Chunk", 1)] and len(tensor.shape) == 3:  # stacks of gate and of up
            return self._stack(plain, [numbered(each) for each in names])
        if len(sources) == 1 and done == [("Chunk", 0)] and len(names) > 1 and tensor.shape[0] % len(names) == 0:
            return replace(plain, parts=split_equally(tensor.shape[0], len(names)), saved_as=tuple(names))
        if len(targets) == 1 and done == [("Concatenate", 0)]:
            part = layer_name_of(name).rpartition(".")[2].removesuffix("_proj")
            return replace(plain, saved_as=(f"{names[0].removesuffix('_weight')}.{part}",))
        if len(sources) == len(targets) == 1 and all(op[0] == "Transpose" for op in done):
            return replace(plain, name=self.renamed(first))
        return plain

    def _stack(self, tensor: StoredTensor, names: list[str]) -> StoredTensor:
        parts = split_halves(tensor.shape[1], "moe_expert") if len(names) > 1 else ()
        return replace(tensor, kind="stack", parts=parts, saved_as=tuple(names))

    def _layer(self, name: str) -> str:
        return layer_name_of(self.renamed(name.replace("*", _INDEX)).replace(_INDEX, "*"))


def rules_of(modules: Sequence[tuple[str, nn.Module]]) -> dict[str, Rules]:
    """Return path -> rules of each model of transformers that is not inside another; nothing is imported for it.

    Args:
        modules: what `named_modules()` gives of a model.
    """
    loaded = sys.modules.get("transformers.modeling_utils")
    kind: Any = getattr(loaded, "PreTrainedModel", ())
    found: dict[str, Rules] = {}
    for path, child in modules if kind else ():
        inside = isinstance(child, kind) and any(not above or path.startswith(f"{above}.") for above in found)
        if isinstance(child, kind) and not inside:
            found[path] = _rules(child)
    return found


def _turned(rule: Any) -> Any:
    """Return a rule of loading as one of saving; None for one that cannot be turned back, as quantizers bring them."""
    try:
        return rule.reverse_transform()
    except NotImplementedError:
        return None


def _rules(model: Any) -> Rules:
    """Read the rules of one model; none where this version of transformers keeps them in another way."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, WeightConverter
    except ImportError:
        return Rules((), ())
    try:
        found = getattr(model, "_weight_conversions", None)  # of a model that was read from files
        if found is None:
            found = get_model_conversion_mapping(model, add_legacy=False)
            found = [rule for rule in found if not isinstance(rule, PrefixChange)]
        turned = [rule for rule in map(_turned, found[::-1]) if rule is not None]
    except (AttributeError, TypeError, ValueError):
        turned = []
    left_out = getattr(model, "all_tied_weights_keys", None)  # name -> name of the one that is written
    return Rules(
        [rule for rule in turned if not isinstance(rule, WeightConverter)],
        [rule for rule in turned if isinstance(rule, WeightConverter)],
        frozenset(left_out if isinstance(left_out, dict) else ()),
    )
