"""A model of several parts, each with a config of its own: a diffusers pipeline, a sentence-transformers model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory


@dataclass(frozen=True)
class Components(Checkpoint):
    """Checkpoints scanned as one; the names of layers begin with that of their part.

    Attributes:
        parts: prefix ("vae.") -> checkpoint.
    """

    parts: Mapping[str, Checkpoint] = field(default_factory=dict)

    def inventory(self, options: AnalysisOptions, prefix: str = "") -> Inventory:
        """Return the weights of all parts, each in its module order."""
        joined = Inventory()
        for name, part in self.parts.items():
            found = part.inventory(options, prefix + name)
            joined.weights += found.weights
            joined.skipped += found.skipped
            joined.notes = tuple(dict.fromkeys((*joined.notes, *found.notes)))
        return joined


def join(source: str, parts: Mapping[str, Checkpoint], notes: tuple[str, ...] = ()) -> Checkpoint:
    """Return the parts as one checkpoint.

    Args:
        source: what the user named.
        parts: prefix of layer names -> checkpoint.
        notes: on the choice of parts.
    """
    tensors = (replace(t, name=prefix + t.name) for prefix, part in parts.items() for t in part.tensors)
    return Components(
        source,
        tuple(tensors),
        {prefix or ".": part.config for prefix, part in parts.items()},
        tuple(file for part in parts.values() for file in part.files),
        stamps={file: stamp for part in parts.values() for file, stamp in part.stamps.items()},
        notes=(*notes, *(f"{prefix or '.'}: {note}" for prefix, part in parts.items() for note in part.notes)),
        parts=parts,
    )
