"""Under which names a live module saves its tensors, where these are not its own paths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.sharded import fsdp1_units
from alpha_callbacks.weights.stored_tensor import StoredTensor
from alpha_callbacks.weights.transformers_names import Rules, rules_of

Modules = Sequence[tuple[str, nn.Module]]


@dataclass(frozen=True)
class SavedNames:
    """What the tensors of a live module are called in its files.

    Attributes:
        paths: see `saved_paths`.
        rules: path of a model of transformers -> what its `save_pretrained` does to names.
    """

    paths: Mapping[str, str]
    rules: Mapping[str, Rules]

    @classmethod
    def of(cls, module: nn.Module, modules: Modules | None = None) -> "SavedNames":
        """Look at a module; `modules` are its `named_modules()`, where these are there already."""
        listed = list(module.named_modules()) if modules is None else modules
        return cls(saved_paths(module, listed), rules_of(listed))

    def left_out(self) -> set[str]:
        """Return the names in the module of tensors that transformers does not write, since another name has them."""
        return {_joined(root, name) for root, rules in self.rules.items() for name in rules.left_out}

    def tensor(self, tensor: StoredTensor) -> StoredTensor:
        """Return a tensor of the module, or decoded from some, under the name that it is saved under."""
        if not (self.rules or self.paths):
            return tensor
        root = next((path for path in self.rules if not path or tensor.name.startswith(f"{path}.")), None)
        above, name = (root, tensor.name[len(root) :].lstrip(".")) if root is not None else ("", tensor.name)
        if root is None or self._further(root, tensor.name):
            saved = replace(tensor, name=saved_name(tensor.name, self.paths))
        else:
            above = saved_name(_joined(root, "_"), self.paths)[:-1]
            saved = self.rules[root].saved(tensor, clean_name(name))
            if above:
                files = tuple(clean_name(above + each) for each in saved.saved_as)
                saved = replace(saved, name=above + saved.name, saved_as=files)
        return saved if saved.name == tensor.name else replace(saved, source=tensor.name)

    def _further(self, root: str, name: str) -> bool:
        """Return True for a tensor in a module inside `root` that has a path of its own in files."""
        start = f"{root}." if root else ""
        return any(path.startswith(start) and path != root and name.startswith(f"{path}.") for path in self.paths)


def saved_paths(module: nn.Module, modules: Modules) -> dict[str, str]:
    """Return path of a child -> path that its tensors have in a checkpoint of the module, where the two differ.

    Known are modules that override `state_dict` (Fabric's wrapper, value heads, a user's own), which are asked, and
    sentence-transformers models, whose parts are saved one by one.
    """
    found = (*_of_state_dict(module, modules), *_of_sentences(modules))
    return {path: saved for path, saved in found if path != saved}


def saved_name(name: str, paths: Mapping[str, str]) -> str:
    """Return the name that a tensor is saved under.

    Args:
        name: path of the tensor in the module.
        paths: what `saved_paths` found; that of the nearest parent counts.

    Examples:
        >>> saved_name("0.model.encoder.weight", {"0.model": "", "2": "2_Dense"})
        'encoder.weight'
        >>> saved_name("2.linear.weight", {"0.model": "", "2": "2_Dense"}), saved_name("3.weight", {"0.model": ""})
        ('2_Dense.linear.weight', '3.weight')
    """
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in paths:
            return _joined(paths[path], name[len(path) :].lstrip("."))
    return name


def _of_state_dict(module: nn.Module, modules: Modules) -> Iterator[tuple[str, str]]:
    """Match the entries of an overridden `state_dict` with the parameters whose memory they share."""
    if all(type(child).state_dict is nn.Module.state_dict for _, child in modules) or fsdp1_units(module):
        return  # the state_dict of FSDP1 gathers all parameters
    try:
        saved = module.state_dict()
    except Exception:  # foreign code, which fails when the user saves too; the paths are good names
        return
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in saved.items():
        if _is_plain(tensor):
            names.setdefault(_place(tensor), []).append(name)
    for path, child in modules:
        for own_name, tensor in child.named_parameters(recurse=False):
            found = names.get(_place(tensor), []) if _is_plain(tensor) else []
            name = found.pop(0) if found else ""  # of tied ones in the same order
            if name == own_name or name.endswith(f".{own_name}"):
                yield path, name[: -len(own_name)].rstrip(".")


def _is_plain(tensor: object) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.numel() > 0  # type: ignore[attr-defined]


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.dtype


def _of_sentences(modules: Modules) -> Iterator[tuple[str, str]]:
    """Name the parts of a sentence-transformers model as its folder does: the first in the root, others `2_Dense`."""
    for path, child in modules:
        parts = list(child.named_children()) if isinstance(child, nn.Sequential) else []
        if not parts or not hasattr(parts[0][1], "save_in_root"):
            continue
        for number, (name, part) in enumerate(parts):
            in_root = number == 0 and bool(getattr(part, "save_in_root", False))
            folder = "" if in_root else f"{number}_{type(part).__name__}"
            own = (n for n, inner in part.named_children() if callable(getattr(inner, "save_pretrained", None)))
            yield _joined(path, name, next(own, "")), _joined(path, folder)  # the model in it is saved by itself


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)
