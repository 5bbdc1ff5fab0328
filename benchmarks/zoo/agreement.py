"""One architecture: are the rows of its live model those of its saved folder, and the matrices that it multiplies?"""

import re
import tempfile
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from alpha_callbacks.analysis.parallel import analyze_weights
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import Weight
from benchmarks.zoo.tiny_models import NotBuilt, build, forward_inputs
from tests.support.multiplied import Multiplied

OPTIONS = AnalysisOptions(precisions=("fp32",))


@dataclass(frozen=True)
class Agreement:
    """What was found of one architecture.

    Attributes:
        architecture: its model_type, or the name of a variant.
        model: class of the model; "" where none was built.
        live: rows of the live model.
        file: rows of the scan.
        same_names: names that both have.
        same_alphas: of these, how many have the same alpha, shape and category in both.
        read_back: "same" if the model has the names of the file once `from_pretrained` has read it, else what differs.
        other: rows of the scan whose category is `other`.
        unknown: tensors of two or more dimensions that no rule of the scan recognises.
        multiplied: of the rows with the same name, those that a forward pass multiplied with, as the scan reads them;
            convolutions and tied heads apart.
        not_multiplied: those of layers that ran whose matrix it did not multiply with; experts that got no token apart.
        reason: why there is no model, or no forward pass.
        other_names: the names of the rows in `other`.
        only: the names that only one of both has, those of the model first.
    """

    architecture: str
    model: str = ""
    live: int = 0
    file: int = 0
    same_names: int = 0
    same_alphas: int = 0
    read_back: str = ""
    other: int = 0
    unknown: int = 0
    multiplied: int = 0
    not_multiplied: int = 0
    reason: str = ""
    other_names: Sequence[str] = field(default=(), repr=False)
    only: tuple[Sequence[str], Sequence[str]] = field(default=((), ()), repr=False)

    @property
    def built(self) -> bool:
        """True where there was a model to look at."""
        return bool(self.model)

    @property
    def identical(self) -> bool:
        """True where both list the same rows with the same alphas."""
        return self.live == self.file == self.same_names == self.same_alphas


def agreement(architecture: str) -> Agreement:
    """Build a model, save it, scan the folder, and compare both with each other and with a forward pass."""
    try:
        model = build(architecture)
    except NotBuilt as error:
        return Agreement(architecture, reason=f"not built: {error}")
    name = type(model).__name__
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save_pretrained(folder)
        except Exception as error:  # a class that cannot save what it has
            return Agreement(architecture, reason=f"not saved: {type(error).__name__}")
        live, file = module_inventory(model, OPTIONS), open_checkpoint(Path(folder)).inventory(OPTIONS)
        ours, theirs = _rows(live), _rows(file)
        both = ours.keys() & theirs.keys()
        others = [weight.layer_name for weight in file.weights if weight.category == "other"]
        multiplied, not_multiplied, reason = _held_against_forward(
            model, [w for w in file.weights if w.layer_name in both and _is_product(w)], live
        )
        return Agreement(
            architecture,
            name,
            len(ours),
            len(theirs),
            len(both),
            sum(_same(ours[layer], theirs[layer]) for layer in both),
            _read_back(type(model), folder, theirs.keys()),
            len(others),
            sum(tensor.unknown for tensor in file.skipped),
            multiplied,
            not_multiplied,
            reason,
            others,
            (sorted(ours.keys() - both), sorted(theirs.keys() - both)),
        )


def _read_back(model_class: Any, folder: str, names: Set[str]) -> str:
    """Return "same" if the model has these names when it is read from its folder, else what differs."""
    try:
        again = model_class.from_pretrained(folder)
    except Exception as error:  # a class that cannot read what it has saved
        return f"not read: {type(error).__name__}"
    found = {weight.layer_name for weight in module_inventory(again, OPTIONS).weights}
    return "same" if found == names else f"{len(found - names)} names more, {len(names - found)} less"


def _rows(inventory: Inventory) -> dict[str, Row]:
    return {found.layer_name: found.rows[0] for found in analyze_weights(inventory.weights, OPTIONS)}


def _same(one: Row, other: Row) -> bool:
    shapes = [(row.out_features, row.in_features) for row in (one, other)]
    if shapes[0] != shapes[1] or (one.status, one.group) != (other.status, other.group):
        return False
    return not one.ok or abs(one.alpha - other.alpha) <= 1e-12 * abs(one.alpha)


def _held_against_forward(model: nn.Module, weights: Sequence[Weight], live: Inventory) -> tuple[int, int, str]:
    """Return (matrices multiplied with, those of layers that ran but not so, why there was no forward pass)."""
    ran: set[nn.Module] = set()
    for part in model.modules():
        part.register_forward_pre_hook(lambda module, _: ran.add(module))
    for inputs in forward_inputs():
        try:
            products = Multiplied(partial(model, **inputs))
            break
        except Exception:  # these were not the inputs that it wants
            ran.clear()
    else:
        return 0, 0, "no forward pass: it wants other inputs"
    owners = {_storage(p): module for module in model.modules() for p in module.parameters(recurse=False)}
    owner = {w.layer_name: owners.get(_storage(w.rows(0, 1))) for w in live.weights}  # None: its rows are a copy
    idle = {name for name, module in owner.items() if module is not None and module not in ran}
    found = {w.layer_name: products.has(w.rows(0, w.out_features)) for w in weights}
    chosen = {_without_number(name) for name, has in found.items() if has}
    wrong = [
        name for name, has in found.items() if not has and name not in idle and _without_number(name) not in chosen
    ]
    return sum(found.values()), len(wrong), ""


def _without_number(layer: str) -> str:
    """Return the name of an expert without its number: all of a block are read alike, and few get a token."""
    return re.sub(r"\bexperts\.\d+\.", "experts.", layer)


def _is_product(weight: Weight) -> bool:
    return weight.category != "conv" and not weight.unsupported and not weight.tied_to


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
