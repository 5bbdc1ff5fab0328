"""What a user names (a path, a model id, nothing) -> a local path."""

import errno
import re
from collections.abc import Callable
from pathlib import Path

from alpha_callbacks.errors import CheckpointError, OptionError
from alpha_callbacks.utils.model_names import SUFFIXES

EMBEDDED = Path(__file__).parents[1] / "assets" / "tiny_llama"


def locate(
    source: str | Path | None, revision: str | None = None, *, note: Callable[[str], object] | None = None
) -> Path:
    """Return the local path of a source, fetching a model id from the hub.

    Args:
        source: path or model id; None: the model that comes with the package.
        revision: of a model id.
        note: takes a sentence on each choice among the files of a model on the hub; None: they are logged.

    Raises:
        CheckpointError: neither a path that exists nor the form of a model id, alone or before the path of a file.
        OptionError: a revision of something that is not a model id.
    """
    if source == "":  # as of a variable that is not set; as a path it would be the working directory
        raise CheckpointError("expected a file, a folder or a model id (organization/name), got an empty text.")
    path = EMBEDDED if source is None else Path(source)
    if _is_there(path):  # a broken link is named as such when it is opened
        if revision is not None:
            raise OptionError(
                f"revision: expected the model id that {revision!r} belongs to, got {path}. Leave it out."
            )
        return path
    model_id, file = (str(source), "") if _is_model_id(str(source)) else _file_on_hub(str(source))
    if model_id:
        from alpha_callbacks.checkpoints.hub import fetch_model

        return fetch_model(model_id, revision, file=file, **({"note": note} if note else {}))
    if "://" in str(source):
        from alpha_callbacks.checkpoints.remote.redirects import shown

        raise CheckpointError(
            f"{shown(str(source))}: expected a file, a folder or a model id (organization/name), got an address. Add "
            "--remote (remote=True), which reads the model where it lies."
        )
    raise CheckpointError(
        f"{source}: expected a file, a folder or a model id (organization/name), found nothing there."
    )


def on_disk(source: str, revision: str | None = None) -> Path | None:
    """Return the local path of a path or model id that is here already; never asks the hub.

    Args:
        source: path or model id.
        revision: of a model id.
    """
    if _is_there(Path(source)):
        return Path(source)
    if not _is_model_id(source):
        return None
    from alpha_callbacks.checkpoints.hub import cached_model

    return cached_model(source, revision)


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def _file_on_hub(source: str) -> tuple[str, str]:
    """Return model id and path of "organization/name/file.gguf", or empty texts.

    A path that begins with a folder of this machine is a mistake in a path, which the hub need not hear of.
    """
    match = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)/(.+)", source)
    if match is None or Path(source).suffix.lower() not in SUFFIXES or Path(Path(source).parts[0]).exists():
        return "", ""
    return match[1], match[2]


def _is_model_id(source: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source)) and Path(source).suffix.lower() not in SUFFIXES
