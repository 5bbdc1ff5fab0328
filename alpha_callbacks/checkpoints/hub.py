"""A model id -> a local folder with its weights and config, and nothing else, through huggingface_hub's cache."""

from pathlib import Path

from alpha_callbacks.checkpoints.file_sets import choose_files
from alpha_callbacks.errors import CheckpointError

# Formats in the order of preference: file names start with, end with, index of the shards.
_FORMATS = (
    ("model", ".safetensors", "model.safetensors.index.json"),
    ("", ".safetensors", "model.safetensors.index.json"),
    ("pytorch_model", ".bin", "pytorch_model.bin.index.json"),
    ("", ".gguf", ""),
)
_CONFIGS = ("config.json", "adapter_config.json")  # of a model, of an adapter
_TRANSPORT = ("httpx", "httpcore", "requests", "urllib3")  # packages whose errors mean "not reached"
_PATIENCE = 20.0  # seconds for the first answer of the hub


def fetch_model(model_id: str, revision: str | None = None) -> Path:
    """Download (or find in the cache) the weight files and config of a model.

    Safetensors are taken where there are any, else PyTorch .bin files, else GGUF. No code is fetched.

    Args:
        model_id: "organization/name".
        revision: branch, tag or commit.

    Raises:
        CheckpointError: unknown, gated, unreachable and not in the cache, or without weights; says what to do.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if constants.HF_HUB_OFFLINE:
            return _from_cache(model_id, revision, "offline mode")
        files = HfApi().model_info(model_id, revision=revision, timeout=_PATIENCE).siblings or []  # without retries
        wanted = _wanted(model_id, [file.rfilename for file in files])
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=wanted))
    except GatedRepoError as error:
        raise CheckpointError(
            f"{model_id}: this model is gated. Accept its terms on its page of the hub, then run `hf auth login` "
            "(or set HF_TOKEN) and try again."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"{model_id}: expected a branch, tag or commit, found no revision {revision!r}."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"{model_id}: expected a path on disk or a model on the hub, found neither. Check the name; "
            "a private model needs `hf auth login`."
        ) from error
    except Exception as error:  # the transport of huggingface_hub changes, and with it the classes of its errors
        if isinstance(error, OSError) or type(error).__module__.startswith(_TRANSPORT):
            return _from_cache(model_id, revision, _first_line(error))
        raise


def cached_model(model_id: str, revision: str | None = None) -> Path | None:
    """Return the snapshot of a model in the cache, or None."""
    from huggingface_hub.errors import HFValidationError

    try:
        return _from_cache(model_id, revision, "")
    except (CheckpointError, HFValidationError):
        return None


def _from_cache(model_id: str, revision: str | None, why: str) -> Path:
    """Return the cached snapshot of the first format that is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for start, end, index in _FORMATS:
        patterns = [*_CONFIGS, f"{start}*{end}", *([index] if index else [])]
        try:
            folder = Path(
                snapshot_download(model_id, revision=revision, allow_patterns=patterns, local_files_only=True)
            )
        except LocalEntryNotFoundError:  # nothing, or not all of them
            continue
        if any(folder.glob(f"{start}*{end}")):
            return folder
    raise CheckpointError(
        f"{model_id}: the hub cannot be reached and the cache does not hold the model ({why}). "
        "Connect, or name a local folder."
    )


def _wanted(model_id: str, files: list[str]) -> list[str]:
    """Return the configs and the weight files of one format, from the top folder of the repository."""
    top = [name for name in files if "/" not in name]
    for start, end, index in _FORMATS:
        weights = [name for name in top if name.startswith(start) and name.endswith(end)]
        if index in top:
            return [*(name for name in top if name in (*_CONFIGS, index)), *weights]
        chosen = choose_files(weights, model_id, lambda index: {})
        if chosen is not None:
            return [*(name for name in top if name in _CONFIGS), *chosen.files]
    raise CheckpointError(f"{model_id}: expected weights (.safetensors, .bin or .gguf), the repository has none.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
