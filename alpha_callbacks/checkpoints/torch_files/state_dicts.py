"""Where in a saved object the weights are: the rules, and what is said of everything beside them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Leaf = TypeVar("Leaf", bound=_Shaped)

# Entries that hold a model's weights, in the order in which they are taken: weights as trained before averages of them.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "network_weights", "weights",
    "params", "app", "generator", "model_ema", "state_dict_ema", "params_ema", "ema", "ema_state_dict", "net_ema",
)  # fmt: skip

# Entries of an optimizer, and what flat names in it begin with; and what its tensors are called.
_OPTIMIZER = re.compile(r"^(\w+_)?optim(izer)?s?(_\w+)?$")
_STATE = re.compile(r"^(exp_avg\w*|max_exp_avg_sq|momentum_buffer|square_avg|exp_inf)$")
_DEEPEST = 64  # levels of nesting that are searched
_MOST = 1_000_000  # entries that lead to tensors; one container may stand in many places


@dataclass(frozen=True)
class Found(Generic[Leaf]):
    """The tensors of a saved object.

    Attributes:
        weights: parameter path -> tensor.
        beside: path of any other tensor -> (tensor, why it is no weight of this model).
        place: path of the weights in the object, dotted; "" for the whole of it.
        rivals: entries that hold weights too and were not taken.
        module: class of the module whose parameters these are, or "".
    """

    weights: Mapping[str, Leaf]
    beside: Mapping[str, tuple[Leaf, str]]
    place: str
    rivals: tuple[str, ...]
    module: str


def find_weights(content: Any, leaf: type[Leaf]) -> Found[Leaf]:
    """Find the model's weights in a saved object.

    A level that holds more tensors itself than any entry known as a wrapper is the state dict. Otherwise the first of
    `WRAPPERS` that holds a matrix is entered; at the top, also an entry of any name that is the only one to hold a
    matrix, the optimizer's aside. A module is entered through its parameters, buffers and submodules.

    Args:
        content: dicts, lists, `Foreign` objects, and tensors.
        leaf: the class of the tensors; has a `shape`.

    Raises:
        ValueError: no weights, or several candidates and no rule; lists the entries.
    """
    tree = _Tree(content, leaf)
    place, level, rivals = list[str](), content, tuple[str, ...]()
    while (inside := _enter(tree, level, top=not place)) is not None:
        name, others = inside
        rivals += tuple(".".join([*place, other]) for other in others)
        place.append(name)
        level = _entries(level)[name]
    weights = {".".join(path): tensor for path, tensor in tree.walk(level) if not _is_optimizer(path)}
    if not weights:
        raise ValueError(_nothing(content))
    where, beside = ".".join(place), {}
    for path, tensor in tree.walk(content):
        inside_weights = list(path[: len(place)]) == place
        if not inside_weights or _is_optimizer(path[len(place) :]):
            name = ".".join(path)
            unique = f"{name} (beside {where})" if name in weights else name
            why = f"beside the weights in {where!r}, which were read"
            beside[unique] = (tensor, "optimizer state, not a weight" if _is_optimizer(path) else why)
    return Found(weights, beside, where, rivals, level.of if _is_module(level) else "")


class _Tree(Generic[Leaf]):
    """A saved object, with the containers known that lead to a tensor."""

    def __init__(self, content: Any, leaf: type[Leaf]) -> None:
        self.leaf = leaf
        parents: dict[int, list[int]] = {}
        leaves, todo = list[int](), [content]
        while todo:
            node = todo.pop()
            for child in _entries(node).values():
                if isinstance(child, leaf | dict | list | tuple | Foreign):
                    if id(child) not in parents:
                        (leaves.append(id(child)) if isinstance(child, leaf) else todo.append(child))
                    parents.setdefault(id(child), []).append(id(node))
        self._leading = set[int]()
        while leaves:
            for parent in parents.get(leaves.pop(), ()):
                if parent not in self._leading:
                    self._leading.add(parent)
                    leaves.append(parent)

    def walk(self, node: Any) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        """Yield (path, tensor) of all tensors in a node, in order; an object within itself is not entered again."""
        todo: list[tuple[tuple[str, ...], Any, tuple[int, ...]]] = [((), node, ())]
        seen = 0
        while todo:
            path, node, above = todo.pop()
            seen += 1
            if seen > _MOST:
                raise ValueError(f"more than {_MOST:,} entries that lead to tensors")
            if isinstance(node, self.leaf):
                yield path, node
            elif id(node) in self._leading and id(node) not in above and len(path) < _DEEPEST:
                inside = (*above, id(node))
                children = [((*path, name), value, inside) for name, value in _entries(node).items()]
                todo += [child for child in reversed(children) if self._leads(child[1])]

    def matrices(self, node: Any) -> int:
        """Return the number of tensors of a node that have a spectrum."""
        return sum(len(tensor.shape) > 1 for path, tensor in self.walk(node) if not _is_optimizer(path))

    def _leads(self, node: Any) -> bool:
        return isinstance(node, self.leaf) or id(node) in self._leading


def _enter(tree: _Tree[Leaf], level: Any, *, top: bool) -> tuple[str, tuple[str, ...]] | None:
    """Return the entry to go into, and the others that hold weights; None to stay."""
    entries = _entries(level)
    if _is_module(level) or not entries:
        return None
    direct = sum(isinstance(value, tree.leaf) for value in entries.values())
    matrices = {name: tree.matrices(value) for name, value in entries.items() if not isinstance(value, tree.leaf)}
    known = [name for name in WRAPPERS if matrices.get(name)]
    if known and direct <= max(matrices[name] for name in known):
        return known[0], tuple(known[1:])
    others = [name for name, count in matrices.items() if count and not _is_optimizer((name,))]
    if top and not direct and others:
        if len(others) == 1:
            return others[0], ()
        raise ValueError(_nothing(level))
    return None


def _nothing(content: Any) -> str:
    names = [name for name in _entries(content)][:12]
    if not names:
        kind = content.of if isinstance(content, Foreign) else type(content).__name__
        return f"no dict of tensors but {kind}"
    return f"no dict of tensors; its entries are {', '.join(names)}"


def _entries(node: Any) -> Mapping[str, Any]:
    """Return what a dict, a list, or an object that is not known holds, by name."""
    if isinstance(node, dict):
        return {str(name): value for name, value in node.items()}
    if isinstance(node, list | tuple):
        return {str(i): value for i, value in enumerate(node)}
    if not isinstance(node, Foreign):
        return {}
    if _is_module(node):
        return _members(node.state)
    return {**_entries(node.items), **_entries(node.entries), **(_entries(node.state))}


def _is_module(node: Any) -> bool:
    state = node.state if isinstance(node, Foreign) else None
    return isinstance(state, dict) and isinstance(state.get("_modules"), dict | Foreign) and "_parameters" in state


def _members(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a module's own state_dict lists: parameters, buffers that are kept, and submodules."""
    dropped = state.get("_non_persistent_buffers_set")
    dropped = {name for name in dropped if isinstance(name, str)} if isinstance(dropped, list) else set()
    buffers = {name: value for name, value in _entries(state.get("_buffers")).items() if name not in dropped}
    return {**_entries(state["_parameters"]), **buffers, **_entries(state["_modules"])}


def _is_optimizer(path: tuple[str, ...]) -> bool:
    """Return True for what lies in an optimizer's entry, has a flat name of one, or is called like its tensors."""
    names = [name for part in path for name in part.split(".")]
    return any(map(_OPTIMIZER.match, [*path, *names[:1]])) or any(map(_STATE.match, names[-2:]))
