"""The base of a checkpoint or an adapter: named by the user, or found where the adapter's config says."""

from pathlib import Path

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.locate import locate, on_disk
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.remote.redirects import without_secrets
from alpha_callbacks.errors import CheckpointError, OptionError
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)


def open_base(checkpoint: Checkpoint, base: str | Path | None, *, download: bool = True) -> Checkpoint | None:
    """Return the base of a checkpoint: the one named, else the one that an adapter's config names, if it is on disk.

    Args:
        checkpoint: a tuned checkpoint or an adapter.
        base: path or model id, or None.
        download: a model id that is not on this machine may be fetched.

    Raises:
        CheckpointError: the base cannot be read, or is an adapter itself.
        OptionError: the base would have to be fetched.
    """
    if base is None:
        base = _named_base(checkpoint) if checkpoint.is_adapter else None
    if base is None:
        return None
    path = locate(base) if download else on_disk(str(base))
    if path is None:
        raise OptionError(
            f"base: expected a model on this machine, since --remote downloads none, got {without_secrets(str(base))}. "
            "Download it first, or scan without --remote."
        )
    found = open_checkpoint(path)
    if found.is_adapter:
        raise CheckpointError(f"{base}: expected the base, a whole model, got an adapter. Name the model below it.")
    return found


def _named_base(adapter: Checkpoint) -> Path | None:
    """Return where the base that an adapter's config names is on disk; says so where it is not."""
    config = adapter.adapter_config
    named, revision = config.get("base_model_name_or_path") or config.get("model"), config.get("revision")
    if not isinstance(named, str) or not named:
        return None
    path = on_disk(named, revision if isinstance(revision, str) else None)
    if path is None:
        _log.warning(
            "%s: its base '%s' is not on disk, so only the update is analysed. For the weights with the update, give "
            "--base PATH, or the model id to download it.",
            adapter.source,
            named,
        )
    return path
