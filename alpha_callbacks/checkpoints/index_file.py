"""The index of a sharded checkpoint: which tensor lies in which file."""

from pathlib import Path

from alpha_callbacks.checkpoints.safetensors_header import without_duplicates
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.json_text import parsed_json
from alpha_callbacks.utils.regular_files import read_regular


def read_index(index: Path) -> dict[str, str]:
    """Return tensor name -> name of a file in the folder of the index. Whether that is there is not checked.

    Raises:
        CheckpointError: not JSON, no weight_map of texts, or a file outside the folder.
    """
    try:
        text = read_regular(index)
    except OSError as error:
        raise _unreadable(str(index), error.strerror) from error
    return weight_map_of(text, str(index))


def weight_map_of(text: bytes, where: str) -> dict[str, str]:
    """Return tensor name -> file name, as the text of an index says.

    Raises:
        CheckpointError: as for `read_index`; `where` names the index.
    """
    try:
        weight_map = parsed_json(text, without_duplicates)["weight_map"]
        odd = [file for file in weight_map.values() if not isinstance(file, str)]
        if not weight_map:
            raise ValueError("an empty one")
        if odd:
            raise ValueError(f"{str(odd[0])[:40]!r} as the name of a file")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(where, error) from error
    for name in set(weight_map.values()):
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise CheckpointError(f"{where}: expected plain file names, got {name!r}, which leaves the folder.")
    return dict(weight_map)


def _unreadable(where: str, what: object) -> CheckpointError:
    return CheckpointError(f"{where}: expected JSON with a weight_map of tensor to file, got {what}.")
