"""A model id -> a local folder with its weights and config, and nothing else, through huggingface_hub's cache."""

from collections.abc import Callable, Mapping
from pathlib import Path

from alpha_callbacks.checkpoints.file_names import sets_of
from alpha_callbacks.checkpoints.file_sets import choose_files, set_around
from alpha_callbacks.checkpoints.folders import (
    MODULES,
    PIPELINE,
    component_folders,
    component_names,
    file_names,
    json_of,
)
from alpha_callbacks.checkpoints.hub_errors import TRANSPORT, code_of, first_line, refusal
from alpha_callbacks.checkpoints.index_file import read_index
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

_CONFIGS = (  # of a model, of an adapter, of quantizers
    *("config.json", "adapter_config.json", "hf_quant_config.json"),
    *("quantize_config.json", "quant_config.json", "quantization_config.json"),
)
_PATIENCE = 20.0  # seconds for the first answer of the hub


def fetch_model(
    model_id: str, revision: str | None = None, *, file: str = "", note: Callable[[str], object] = _log.info
) -> Path:
    """Download (or find in the cache) the weight files and config of a model.

    Which files are the weights, the rule of `file_sets` says, for each component of a pipeline. No code is fetched.

    Args:
        model_id: "organization/name".
        revision: branch, tag or commit.
        file: path of a file of weights in the repository; "": the model that the rule chooses.
        note: takes a sentence on each choice among the files. What is not chosen is not downloaded, so that nothing
            later can say it.

    Raises:
        CheckpointError: unknown, gated, unreachable and not in the cache, or without weights; says what to do.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        if constants.HF_HUB_OFFLINE:
            return _from_cache(model_id, revision, "offline mode", file)
        siblings = HfApi().model_info(model_id, revision=revision, timeout=_PATIENCE).siblings or []  # without retries
        wanted = _wanted(model_id, revision, [sibling.rfilename for sibling in siblings], file, note)
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=wanted)) / file
    except Exception as error:  # the transport of huggingface_hub changes, and with it the classes of its errors
        if refused := refusal(code_of(error), model_id, revision):
            raise refused from error
        if isinstance(error, OSError) or type(error).__module__.startswith(TRANSPORT):
            return _from_cache(model_id, revision, first_line(error), file)
        raise


def cached_model(model_id: str, revision: str | None = None) -> Path | None:
    """Return the snapshot of a model in the cache, or None."""
    from huggingface_hub.errors import HFValidationError

    try:
        return _from_cache(model_id, revision, "")
    except (CheckpointError, HFValidationError):
        return None


def _from_cache(model_id: str, revision: str | None, why: str, file: str = "") -> Path:
    """Return the cached snapshot if there are weights in it, or a file of it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Whether the weights are complete, the rule of `file_sets` finds out; of other files few are there.
        few = [file] if file else list(_CONFIGS)
        folder = Path(snapshot_download(model_id, revision=revision, allow_patterns=few, local_files_only=True))
        if not ((folder / file).exists() if file else sets_of(file_names(folder)) or component_folders(folder)):
            raise LocalEntryNotFoundError("no weights")
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{model_id}: the hub cannot be reached and the cache does not hold the model ({why}). "
            "Connect, or name a local folder."
        ) from error
    return folder / file


def _wanted(
    model_id: str, revision: str | None, files: list[str], file: str, note: Callable[[str], object]
) -> list[str]:
    """Return what is downloaded: the weights, their index and config, and the descriptions of components."""
    if file:
        folder, slash, name = file.rpartition("/")
        if file not in files:
            raise CheckpointError(f"{model_id}: expected {file!r} among its files, it is not there.")
        return _wanted_of(model_id, revision, files, folder + slash, note, name)
    described = [name for name in (PIPELINE, MODULES) if name in files]
    contents = {name: json_of(_fetched(model_id, revision, name)) for name in described}
    wanted = list(described)
    for part in component_names(contents.get(PIPELINE), contents.get(MODULES)):
        wanted += _wanted_of(model_id, revision, files, f"{part}/", note)
    if len(wanted) == len(described) or PIPELINE not in described:
        wanted += _wanted_of(model_id, revision, files, "", note)
    if len(wanted) == len(described):
        raise CheckpointError(f"{model_id}: expected weights (.safetensors, .bin or .gguf), the repository has none.")
    return wanted


def _wanted_of(
    model_id: str, revision: str | None, files: list[str], folder: str, note: Callable[[str], object], file: str = ""
) -> list[str]:
    """Return the files of one folder that make up a checkpoint, that of a named file; none where it has no weights."""
    names = [name.removeprefix(folder) for name in files if name.startswith(folder)]
    inside = [name for name in names if "/" not in name]
    where = f"{model_id}/{folder}".rstrip("/")

    def read(index: str) -> Mapping[str, str]:
        return read_index(_fetched(model_id, revision, folder + index))

    chosen = set_around(file, inside, where, read) if file else choose_files(inside, where, read)
    if chosen is None:
        return []
    for sentence in chosen.notes:
        note(f"{where}: {sentence}" if folder else sentence)
    beside = [name for name in (*_CONFIGS, chosen.index) if name in inside]
    return [folder + name for name in (*beside, *chosen.files)]


def _fetched(model_id: str, revision: str | None, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model_id, name, revision=revision))
