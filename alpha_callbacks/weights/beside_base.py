"""A checkpoint or an adapter beside the base that it started from: which rows the two give."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.adapters.matching import matches
from alpha_callbacks.weights.adapters.read_adapter import Adapter, read_adapter
from alpha_callbacks.weights.adapters.update import Update
from alpha_callbacks.weights.families import family_of, known_of
from alpha_callbacks.weights.inventory import Inventory, Selects, Skipped, take_inventory
from alpha_callbacks.weights.layer_names import UPDATE, module_order
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.unpack import weights_of
from alpha_callbacks.weights.updates import ABSENT, adapted, added, as_update, difference, transposed, without_base
from alpha_callbacks.weights.weight import RowReader, Weight


@dataclass(frozen=True)
class Chosen:
    """Which layers are wanted.

    Attributes:
        selects: layer filter; sees the names of a weight, and decides about its update too.
        embeddings: embedding tables are wanted.
    """

    selects: Selects
    embeddings: bool


@dataclass
class Base:
    """The base, or nothing.

    Attributes:
        source: what the user named, "" without a base.
        config: config.json as a dict, or empty.
        weights: layer name -> weight, embeddings too.
        shapes: layer name of a tensor -> its shape as stored.
        moving: layers that are trained themselves (of a live model), so that they have rows without an adapter.
        stores_transposed: linear layers are (in, out), as the adapter's config says, and read so, since the base's
            config does not say it.
    """

    source: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    stores_transposed: bool = False

    def parts(self, layer: str) -> list[Weight]:
        """Return the matrices of a tensor: itself, or what it is split into."""
        start = f"{layer.removesuffix('_weight')}."
        return [w for name, w in self.weights.items() if name == layer or name.startswith(start)]


def tuned_inventory(own: Inventory, below: Base, source: str, chosen: Chosen) -> Inventory:
    """Return the weights of a checkpoint, each followed by its update W - W0.

    Args:
        own: weights of the checkpoint.
        below: its base.
        source: name of the checkpoint, for messages.
        chosen: layer filter and embeddings.

    Raises:
        CheckpointError: not one layer of this name in the base.
    """
    found = matches([weight.layer_name for weight in own.weights], below.weights)
    if own.weights and not found:
        raise _strangers(source, below, own.weights[0].layer_name)
    weights = []
    for weight in own.weights:
        other = below.weights.get(found.get(weight.layer_name, ""))
        weights += [weight, difference(weight, other) if other else without_base(weight)]
    left = [
        w for name, w in below.weights.items() if name not in found.values() and chosen.selects(name, w.source_name)
    ]
    weights += [
        as_update(w, w.rows, w.stored_dtype, unsupported="only the base has this layer")
        for w in left
        if w.category != "embedding" or chosen.embeddings
    ]
    return Inventory(weights, own.skipped, own.notes)


def _strangers(source: str, below: Base, example: str) -> CheckpointError:
    return CheckpointError(
        f"{source}: expected layers of its base {below.source}, no name is the same ({example} here, "
        f"{next(iter(below.weights), 'nothing')} there). Name the base that it was trained from."
    )


def adapter_inventory(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, str],
    below: Base,
    source: str,
    chosen: Chosen,
) -> Inventory:
    """Return the update of every weight that an adapter changes and, with a base, that weight with the update.

    Args:
        tensors: of the adapter.
        config: adapter_config.json as a dict, or empty.
        metadata: texts in the headers of its files.
        below: its base; one without a source stands for none.
        source: name of the adapter, for messages.
        chosen: layer filter and embeddings.

    Raises:
        CheckpointError: the base does not belong to it, or there are several adapters in one.
    """
    try:
        adapter = read_adapter(tensors, config, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    known = any(known.form == "in_out" for known in family_of(below.config).tensors.values())
    below.stores_transposed = bool(config.get("fan_in_fan_out")) and not known
    return adapted_inventory(_renamed(adapter, below, source), below, source, chosen)


def adapted_inventory(adapter: Adapter, below: Base, source: str, chosen: Chosen) -> Inventory:
    """Return what `adapter_inventory` does, for an adapter that is read already and has the names of the base."""
    touched, weights, skipped = set[str](), list[Weight](), list[Skipped]()

    def take(tensors: Sequence[StoredTensor]) -> list[Weight]:
        wanted, named = chosen.selects, bool(below.source)
        found = take_inventory(
            tensors,
            below.config,
            selects=wanted,
            include_embeddings=chosen.embeddings,
            named=named,
            own_paths=False,
        )
        skipped.extend(found.skipped)
        return found.weights

    saved = [tensor for tensor in adapter.weights if ".base_layer." in tensor.name]  # of a resized embedding
    below.weights.update({weight.layer_name: weight for weight in take(saved)})
    for weight in take([t for t in adapter.weights if ".base_layer." not in t.name] + list(adapter.factors)):
        touched.add(weight.layer_name)
        other = below.weights.get(weight.layer_name)
        weights.append(weight)
        if below.source:
            weights.append(difference(weight, other) if other else without_base(weight))
    owners = dict[str, str]()
    for update in adapter.updates:
        update = _fitted(update, below)
        for weight in take([update.stored()]):
            if (first := owners.setdefault(weight.layer_name, update.name)) != update.name:
                raise CheckpointError(
                    f"{source}: expected one update of each layer, got two of {weight.layer_name}, under the names "
                    f"{first} and {update.name}. Take the tensors of one of them out of the file."
                )
            touched.add(weight.layer_name)
            weights += _pair(weight, update, below, source)
    moving = [
        w for name, w in below.weights.items() if name in below.moving - touched and chosen.selects(name, w.source_name)
    ]
    weights += [w for w in moving if w.category != "embedding" or chosen.embeddings]
    names = [weight.layer_name for weight in weights]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CheckpointError(f"{source}: expected one update of each layer, got two of {twice}.")
    skipped += [
        Skipped(name, (w.out_features, w.in_features), w.stored_dtype, "not changed by the adapter; scan the base")
        for name, w in below.weights.items()
        if name not in touched | below.moving
    ]
    weights.sort(key=lambda weight: (module_order(weight.layer_name.removesuffix(UPDATE)), weight.is_update))
    return Inventory(weights, skipped)


def _renamed(adapter: Adapter, below: Base, source: str) -> Adapter:
    """Return an adapter whose updates and weights have the names of the base."""
    if not below.source:
        return adapter
    paths = [update.name for update in adapter.updates] + [tensor.name for tensor in adapter.weights]
    names = [layer_name_of(path) for path in paths]
    found = matches(names, below.shapes)
    if adapter.updates and not any(layer_name_of(update.name) in found for update in adapter.updates):
        raise _strangers(source, below, layer_name_of(adapter.updates[0].name))

    def rename(name: str) -> str:
        layer = layer_name_of(name)
        return name.replace(layer, found.get(layer, layer), 1)

    return replace(
        adapter,
        updates=tuple(replace(update, name=rename(update.name)) for update in adapter.updates),
        weights=tuple(replace(tensor, name=rename(tensor.name)) for tensor in adapter.weights),
    )


def _fitted(update: Update, below: Base) -> Update:
    """Return the update in the shape of the base's tensor, or refused where it needs a base that is not there."""
    layer = layer_name_of(update.name)
    parts = below.parts(layer)
    if update.unsupported:
        return replace(update, shape=(sum(w.out_features for w in parts), parts[0].in_features)) if parts else update
    if len(update.shape) == 3 and update.kind == "unknown" and layer in below.shapes:
        stored, (_, out_features, in_features) = below.shapes[layer], update.shape
        flipped = stored[1:] == (in_features, out_features) != (out_features, in_features)
        known = known_of(layer, below.config)
        return update.transposed() if flipped or (known and known.form == "experts_in_out") else update
    if not parts and (update.needs_base or 0 in update.shape):
        return update.refused(ABSENT if below.source else "only its base tells the change. Give it with --base")
    return update.on(sum(w.out_features for w in parts), parts[0].in_features) if parts else update


def _pair(weight: Weight, update: Update, below: Base, source: str) -> Iterable[Weight]:
    """Yield the weight with the update, where there is a base, and the update."""
    other = below.weights.get(weight.layer_name)
    if other is not None and update.kind == "linear" and below.stores_transposed:
        other = transposed(other)
    rows = _readers(weight, update, below.config)
    if other is None:
        if below.source:
            yield replace(weight, unsupported=update.unsupported or ABSENT)
        yield added(weight, update, rows.get("left"), None)
        return
    if not update.unsupported and (weight.out_features, weight.in_features) != (other.out_features, other.in_features):
        raise CheckpointError(
            f"{source}: expected the adapter of {below.source}, but {weight.layer_name} is "
            f"{weight.out_features}x{weight.in_features} in the adapter and {other.out_features}x{other.in_features} "
            "in the base. Name the base that it was trained from with --base."
        )
    whole = adapted(other, update, rows)
    yield whole
    if update.needs_base and not update.unsupported:
        yield replace(difference(whole, other), stored_dtype=update.method)
    else:
        yield added(replace(weight, category=other.category), update, rows.get("left"), other)


def _readers(weight: Weight, update: Update, config: Mapping[str, Any]) -> dict[str, RowReader]:
    """Return what -> reader of the rows that belong to one matrix, which may be a part of the tensor."""
    if update.unsupported:
        return {}
    found: dict[str, RowReader] = {"change": weight.rows} if "change" in update.rows else {}
    for what in update.rows.keys() - {"change"}:
        for part in weights_of(update.stored(what), config):
            if part.layer_name == weight.layer_name:
                found[what] = part.rows
    return found
