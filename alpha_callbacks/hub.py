"""A model id -> a local folder with its weights and config, and nothing else, through huggingface_hub's cache."""

from pathlib import Path

from alpha_callbacks.errors import CheckpointError

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


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
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        wanted = None if constants.HF_HUB_OFFLINE else _wanted(HfApi().list_repo_files(model_id, revision=revision))
        if wanted is not None and not any(name.endswith((".safetensors", ".bin", ".gguf")) for name in wanted):
            raise CheckpointError(
                f"{model_id}: expected weights (.safetensors, .bin or .gguf), the repository has none."
            )
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
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{model_id}: expected a path on disk or a model on the hub, found neither. Check the name; "
            "a private model needs `hf auth login`."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{model_id}: the hub cannot be reached and the cache does not hold the model ({_first_line(error)}). "
            "Connect, or name a local folder."
        ) from error


def _wanted(files: list[str]) -> list[str]:
    """Return config.json and the weight files of one format, from the top folder of the repository."""
    top = [name for name in files if "/" not in name]
    wanted = [name for name in top if name in ("config.json", *_INDEXES)]
    for suffix, prefix in ((".safetensors", "model"), (".safetensors", ""), (".bin", "pytorch_model"), (".gguf", "")):
        weights = [name for name in top if name.endswith(suffix) and name.startswith(prefix)]
        if weights:
            keep_index = _INDEXES[0] if suffix == ".safetensors" else _INDEXES[1]
            return [*(name for name in wanted if name in ("config.json", keep_index)), *weights]
    return wanted


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
