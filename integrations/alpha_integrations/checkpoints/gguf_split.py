"""Whether files make up one split GGUF model, by what their headers say."""

from collections.abc import Sequence

from alpha_callbacks.checkpoints.gguf_header import GgufHeader
from alpha_callbacks.errors import CheckpointError


def check_split(headers: Sequence[GgufHeader]) -> None:
    """Check that the files belong together, each in its place, and hold as many tensors as they say.

    Args:
        headers: of all files with the same name but for its number, in order.

    Raises:
        CheckpointError: they do not.
    """
    for place, header in enumerate(headers):
        number, count = header.fields.get("split.no", place), header.fields.get("split.count", len(headers))
        whole = count == len(headers) or (count == 0 and len(headers) == 1)
        if number != place or not whole:
            raise CheckpointError(
                f"{header.file}: expected file {place + 1} of {len(headers)} of a model, got one that says split "
                f"{number} (from 0) of {count}. Put all of them in the folder, with the names that they had."
            )
    wanted = headers[0].fields.get("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    if len(headers) > 1 and wanted not in (None, found):
        raise CheckpointError(
            f"{headers[0].file}: expected {wanted} tensors in {len(headers)} files, got {found}. Download them again."
        )
