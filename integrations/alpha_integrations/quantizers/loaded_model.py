"""What transformers makes of a checkpoint: which of its modules holds each matrix of the files. No weights are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alpha_callbacks.checkpoints.locate import on_disk
from alpha_callbacks.planning.plan import module_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_EXPERT = re.compile(r"^(.*\bexperts)\.\d+\.(.+)$")


@dataclass(frozen=True)
class Place:
    """Where a loaded model holds a matrix of its files.

    Attributes:
        path: of the module; of a stack the module that holds the experts.
        kind: "linear": nn.Linear or a class of it, which quantizers take; "stack": a part of one parameter with all
            experts of a block; "other": any other module.
        module: name of the module's class.
        bias: it has one.
    """

    path: str
    kind: Literal["linear", "stack", "other"]
    module: str = "Linear"
    bias: bool = False


class LoadedModel:
    """The modules of a model, found by the names of its files with transformers' own rules."""

    def __init__(self, model: nn.Module) -> None:
        """Take a model of transformers; its weights are not looked at."""
        self._modules = dict(model.named_modules())
        self._state: Mapping[str, Tensor] = model.state_dict()
        self._rename = _renaming(model, self._state)
        self._found: dict[str, Place | None] = {}

    @classmethod
    def of(cls, source: str) -> LoadedModel | None:
        """Return the model of a folder, or of a model id that is on disk, as transformers would load it.

        Its code is not run. None where it cannot be known: transformers or the folder is not there, or the model is
        none of those that transformers has.
        """
        folder = on_disk(source) if source else None
        folder = folder if folder is None or folder.is_dir() else folder.parent
        if folder is None or not (folder / "config.json").is_file():
            return None
        try:
            import torch
            import transformers

            library: Any = transformers
            config = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            family = getattr(library, next(iter(config.architectures or []), "AutoModel"))
            with torch.device("meta"):
                model = family._from_config(config) if hasattr(family, "_from_config") else family.from_config(config)
        except (ImportError, AttributeError, OSError, ValueError, KeyError, TypeError, RuntimeError):
            return None  # whatever it does not like: the export says that the model was not looked at
        return cls(model)

    def place(self, layer_name: str) -> Place | None:
        """Return where a layer of a plan is; None if the model has nothing of this name."""
        name = module_name(layer_name)
        expert = _EXPERT.match(name)
        name = f"{expert[1]}.0.{expert[2]}" if expert else name  # all are in one place
        if name not in self._found:
            keys = map(self._rename, _keys(name, expert))
            parameter = next((key for key in keys if key in self._state), None)
            self._found[name] = self._place(parameter) if parameter else None
        return self._found[name]

    def is_stacked(self, layer_name: str) -> bool:
        """Return True for a part of one parameter that holds all experts of a block."""
        place = self.place(layer_name)
        return place is not None and place.kind == "stack"

    def _place(self, parameter: str) -> Place:
        from torch import nn

        path, _, last = parameter.rpartition(".")
        module = self._modules[path]
        if last == "weight" and isinstance(module, nn.Linear):
            return Place(path, "linear", type(module).__name__, module.bias is not None)
        stack = last != "weight" and self._state[parameter].ndim == 3 and "expert" in path
        return Place(path, "stack" if stack else "other", type(module).__name__ if last == "weight" else "")


def _keys(name: str, expert: re.Match[str] | None) -> Iterator[str]:
    """Yield the names that the tensor of a layer may have in the files."""
    yield f"{name}.weight"
    yield name
    yield f"{name}_weight"  # of nn.MultiheadAttention
    if expert:  # a stack in the files too; gate and up by themselves are parts of one
        yield f"{expert[1]}.{expert[2]}"
        yield re.sub(r"\.(gate|up)_proj$", ".gate_up_proj", f"{expert[1]}.{expert[2]}")


def _renaming(model: Any, state: Mapping[str, Tensor]) -> Callable[[str], str]:
    """Return transformers' own function from names of files to names of parameters."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        rules: list[Any] = get_model_conversion_mapping(model)
    except ImportError:  # before version 5 it had no such rules, or a later one has them elsewhere
        return lambda key: key
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]

    def rename(key: str) -> str:
        renamed = rename_source_key(key, renamings, converters, model.base_model_prefix, dict(state))[0]
        if renamed not in state and key in state:  # as the loader itself does
            renamed = rename_source_key(key, [], [], model.base_model_prefix, dict(state))[0]
        return str(renamed)

    return rename
