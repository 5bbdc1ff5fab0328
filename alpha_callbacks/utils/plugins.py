"""Plugins by name: our own, and those that other distributions register as entry points `alpha_callbacks.<group>`.

Our own stand in a table, so they need no package metadata: a checkout on the path is enough. Names are listed without
importing anything. A plugin is imported when it is asked for by name, or as one of all, where a broken one costs one
warning and stops nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from alpha_callbacks.errors import AlphaCallbacksError, OptionError
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

Group = Literal["readers", "sinks", "precisions", "exporters", "writers"]

OWN = "alpha-callbacks"  # our distribution; what the metadata of an older installation says of it is not asked
_TORCH = "alpha_callbacks.checkpoints.torch_files.torch_reader:read_torch_files"
_QUANTIZERS = "alpha_integrations.quantizers"
_TABLE: Mapping[Group, Mapping[str, str]] = {
    "readers": {  # by file suffix
        "safetensors": "alpha_callbacks.checkpoints.safetensors_reader:read_safetensors",
        "gguf": "alpha_integrations.checkpoints.gguf_reader:read_gguf",
        **dict.fromkeys(("bin", "pt", "pth", "ckpt", "tar"), _TORCH),
    },
    "sinks": {
        "comet": "alpha_integrations.loggers.comet_sink:find_comet",
        "csv": "alpha_callbacks.sinks.csv_sink:find_csv",
        "mlflow": "alpha_integrations.loggers.mlflow_sink:find_mlflow",
        "tensorboard": "alpha_integrations.loggers.tensorboard_sink:find_tensorboard",
        "trackio": "alpha_integrations.loggers.trackio_sink:find_trackio",
        "wandb": "alpha_integrations.loggers.wandb_sink:find_wandb",
    },
    "precisions": {"gguf": "alpha_integrations.precisions.gguf_precision:FAMILY"},
    "exporters": {
        "auto-round": f"{_QUANTIZERS}.auto_round_export:export",
        "bitsandbytes": f"{_QUANTIZERS}.bitsandbytes_export:export",
        "compressed-tensors": f"{_QUANTIZERS}.compressed_tensors_export:export",
        "gguf": f"{_QUANTIZERS}.gguf_export:export",
        "gptqmodel": f"{_QUANTIZERS}.gptqmodel_export:export",
        "layer-config": f"{_QUANTIZERS}.layer_config_export:export",
        "llm-compressor": f"{_QUANTIZERS}.llm_compressor_export:export",
        "mlx": f"{_QUANTIZERS}.mlx_export:export",
        "modelopt": f"{_QUANTIZERS}.modelopt_export:export",
        "torchao": f"{_QUANTIZERS}.torchao_export:export",
    },
    "writers": {
        "compressed-tensors": f"{_QUANTIZERS}.compressed_tensors_writer:write",
        "gguf": f"{_QUANTIZERS}.gguf_writer:write",
        "torchao": f"{_QUANTIZERS}.torchao_writer:write",
    },
}


class _Plugin(NamedTuple):
    """Where a plugin is, and who brings it."""

    home: str  # "module:attribute"
    distribution: str


_told: set[tuple[Group, str, _Plugin]] = set()


def names(group: Group) -> list[str]:
    """Return the names of a group, sorted; imports no plugin."""
    return sorted(_found(group))


def load(group: Group, name: str, *, error: type[AlphaCallbacksError] = OptionError) -> Any:
    """Import one plugin of `names(group)`.

    Args:
        group: which kind.
        name: one of `names(group)`.
        error: raised where the import fails; names the plugin and its distribution.
    """
    plugin = _found(group)[name]
    module, _, attribute = plugin.home.partition(":")
    try:
        found = EntryPoint(name, plugin.home, group).load()
        if group != "precisions" and not callable(found):
            raise TypeError(f"{found!r}, which cannot be called")
        return found
    except AlphaCallbacksError:  # it says itself what is missing
        raise
    except (Exception, SystemExit) as cause:
        raise error(
            f"{_title(group, name, plugin)}: expected {attribute or 'a plugin'} from {module}, got "
            f"{type(cause).__name__}: {cause}. {_remedy(plugin)}"
        ) from cause


def load_all(group: Group) -> Iterator[tuple[str, Any]]:
    """Yield the plugins of a group one by one; one that cannot be imported is left out, with a warning."""
    for name in names(group):
        try:
            plugin = load(group, name)
        except AlphaCallbacksError as error:
            leave_out(group, name, error)
        else:
            yield name, plugin


def leave_out(group: Group, name: str, why: object) -> None:
    """Warn, once per process, that a plugin is left out."""
    _warn_once(group, name, _found(group)[name], why)


def is_own(group: Group, name: str) -> bool:
    """Return True for a plugin that comes with this package."""
    return name in _TABLE[group]


@cache
def _found(group: Group) -> Mapping[str, _Plugin]:
    """Return all plugins of a group; of two with one name ours counts, then the first that is found."""
    plugins = {name: _Plugin(home, OWN) for name, home in _TABLE[group].items()}
    for point in entry_points(group=f"alpha_callbacks.{group}"):
        distribution = _distribution(point)
        if distribution == OWN:
            continue
        if point.name in plugins:
            owner = plugins[point.name].distribution
            _warn_once(group, point.name, _Plugin(point.value, distribution), f"the name belongs to {owner}.")
        else:
            plugins[point.name] = _Plugin(point.value, distribution)
    return plugins


def _warn_once(group: Group, name: str, plugin: _Plugin, why: object) -> None:
    if (group, name, plugin) not in _told:
        _told.add((group, name, plugin))
        title = _title(group, name, plugin)
        _log.warning("alpha-Hill: %s: %s It is left out.", title, str(why).removeprefix(f"{title}: "))


def _distribution(point: EntryPoint) -> str:
    name = point.dist.name if point.dist is not None else None
    return re.sub(r"[-_.]+", "-", name).lower() if name else "a distribution without a name"


def _title(group: Group, name: str, plugin: _Plugin) -> str:
    return f"{group.removesuffix('s')} {name!r} of {plugin.distribution}"


def _remedy(plugin: _Plugin) -> str:
    if plugin.distribution == OWN:
        return "In a checkout that is not installed, put the folder integrations/ on the path too."
    return f"Update or uninstall {plugin.distribution}."
