"""Under which names transformers writes the tensors of a live model: its own rules, read at run time.

Since version 5 a model of transformers may hold its weights in another way than its files do (experts stacked, q, k
and v apart, other modules around them), and `save_pretrained` turns this back. The rules are data: renamings, and
converters with the operations that they do.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
        left_out: path of a parameter that is not written -> path of the one whose storage it shares.
        of_class: the renamings of a model that was not read from files. One that was keeps only those that its files
            had a use for, so the name of a tensor that they leave out follows from these.
    """

    renamings: Sequence[Any]
    converters: Sequence[Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    of_class: Sequence[Any] = ()

    def renamed(self, name: str) -> str:
        """Return a name after all renamings."""
        owner = self.left_out.get(name)
        usual = owner is not None and _renamed(owner, self.of_class) == _renamed(owner, self.renamings)
        return _renamed(name, self.of_class if usual else self.renamings)

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


def _renamed(name: str, renamings: Sequence[Any]) -> str:
    for rule in renamings:
        name = rule.rename_source_key(name)[0]
    return name


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


def _reversed(rules: Sequence[Any]) -> list[Any]:
    """Return rules of loading as those of saving, the last first; without any that cannot be turned, of quantizers."""
    turned = []
    for rule in rules[::-1]:
        with suppress(NotImplementedError):
            turned.append(rule.reverse_transform())
    return turned


def _rules(model: Any) -> Rules:
    """Read the rules of one model; none where this version of transformers keeps them in another way."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, WeightConverter
    except ImportError:
        return Rules((), ())
    try:
        usual = get_model_conversion_mapping(model, add_legacy=False)
        of_class = _reversed([rule for rule in usual if not isinstance(rule, PrefixChange)])
        found = getattr(model, "_weight_conversions", None)  # of a model that was read from files
        turned = of_class if found is None else _reversed(found)
    except (AttributeError, TypeError, ValueError):
        turned = of_class = []
    left_out = getattr(model, "all_tied_weights_keys", None)  # name -> name of the one that is written
    return Rules(
        [rule for rule in turned if not isinstance(rule, WeightConverter)],
        [rule for rule in turned if isinstance(rule, WeightConverter)],
        left_out if isinstance(left_out, dict) else {},
        [rule for rule in of_class if not isinstance(rule, WeightConverter)],
    )
