"""The weights that a run started with, kept in its folder: in no memory, and there again when it is resumed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.checkpoints.safetensors_reader import read_safetensors
from alpha_callbacks.checkpoints.safetensors_writer import file_digest, write_weights
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.training.baseline import Baseline
from alpha_callbacks.utils.atomic_files import make_folder, write_text
from alpha_callbacks.weights.stored_tensor import StoredTensor
from alpha_callbacks.weights.weight import Weight

FOLDER, RECORD = "start", "start.json"


class StartBaseline(Baseline):
    """W0 are the weights of the first state of a run.

    Each rank writes those that it analyses, in a safetensors file of its own, `start/model-<rank>-of-<ranks>`; together
    they are a checkpoint. A run that continues in the same folder at a later step finds them there.

    Args:
        output_dir: folder of the run, the same on every rank.
    """

    def __init__(self, output_dir: Path) -> None:
        super().__init__()
        self._folder = output_dir / FOLDER

    def prepare(self, weights: Sequence[Weight], mine: Sequence[Weight], step: int, ranks: Ranks) -> None:
        """Keep the weights, or find those of the first start where this run continues it. Collective.

        Raises:
            CheckpointError: what is kept there is damaged, or of other layers.
            PeerError: another rank cannot read it.
        """
        wanted = [w for w in weights if len(self.names(w, {w.layer_name for w in weights})) > 1 and not w.unsupported]
        names = {weight.layer_name for weight in wanted}
        record = ranks.agree(lambda: _record(self._folder) if ranks.rank == 0 else None)[0]
        if record is None or record["step"] >= step:
            own = [weight for weight in mine if weight.layer_name in names]
            written = ranks.agree(lambda: self._write(own, ranks))
            files = {name: facts for each in written for name, facts in each.items()}
            record = {"step": step, "files": files, "stored_dtypes": {w.layer_name: w.stored_dtype for w in wanted}}
            ranks.agree(lambda: self._finish(record) if ranks.rank == 0 else None)
            ranks.agree(lambda: self._open(record, wanted, check=()))
        else:
            turns = sorted(record["files"])[ranks.rank :: ranks.size]
            ranks.agree(lambda: self._open(record, wanted, check=turns))
        self.notes = (_note(record["step"], self._folder, kept=record["step"] < step),)

    def _write(self, weights: Sequence[Weight], ranks: Ranks) -> dict[str, Any]:
        """Write this rank's part; return file name -> size and digest."""
        make_folder(self._folder)
        name = f"model-{ranks.rank + 1:05d}-of-{ranks.size:05d}.safetensors" if ranks.size > 1 else "model.safetensors"
        path = self._folder / name
        digest = write_weights(weights, path)
        return {name: {"size": path.stat().st_size, "digest": digest}}

    def _finish(self, record: dict[str, Any]) -> None:
        """Write the record, after all parts: without it, they do not count."""
        for path in self._folder.glob("model*.safetensors"):  # of a run before
            if path.name not in record["files"]:
                path.unlink(missing_ok=True)
        write_text(self._folder / RECORD, json.dumps(record, indent=1) + "\n")

    def _open(self, record: dict[str, Any], wanted: Sequence[Weight], check: Sequence[str]) -> None:
        """Read the headers of all parts, and the whole of those that this rank is to check."""
        paths = {name: self._folder / name for name in record["files"]}
        for name, path in paths.items():
            facts = record["files"][name]
            size = path.stat().st_size if path.is_file() else None
            if size != facts["size"] or name in check and file_digest(path) != facts["digest"]:
                got = "no such file" if size is None else f"another content of {size} bytes"
                raise CheckpointError(
                    f"{path}: expected the weights that this run started with, {facts['size']} bytes, got {got}. Put "
                    "output_dir where every rank can read it; after a loss, name a new one, or baseline=PATH."
                )
        tensors = read_safetensors(list(paths.values())).tensors
        stored = {tensor.name.removesuffix(".weight"): tensor for tensor in tensors}
        for weight in wanted:
            tensor, shape = stored.get(weight.layer_name), (weight.out_features, weight.in_features)
            if tensor is None or tensor.shape != shape:
                got = "x".join(map(str, tensor.shape)) if tensor else "no such layer"
                others = tensor is None and any(each.layer_name in stored for each in wanted)
                what_to_do = (
                    "It was kept with other layers: resume with the same include, exclude and include_embeddings, or "
                    if others
                    else "It is that of another model: "
                )
                raise CheckpointError(
                    f"{self._folder}: expected the start of this run, with {weight.layer_name} of shape "
                    f"{shape[0]}x{shape[1]}, got {got}. {what_to_do}name another output_dir."
                )
        self._weights = {name: _weight(name, tensor, record["stored_dtypes"]) for name, tensor in stored.items()}
        self._found = {name: name for name in stored}


def _weight(name: str, tensor: StoredTensor, stored_dtypes: Mapping[str, str]) -> Weight:
    rows, columns = tensor.shape
    assert tensor.dtype is not None  # written by us
    return Weight(name, "", rows, columns, tensor.dtype, stored_dtypes.get(name, tensor.stored_dtype), tensor.read)


def _record(folder: Path) -> dict[str, Any] | None:
    """Return what is kept in a folder; None where there is nothing, or a start whose writing was cut short."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {
            "step": int(found["step"]),
            "files": dict(found["files"]),
            "stored_dtypes": dict(found["stored_dtypes"]),
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{folder / RECORD}: expected the record of a run's start, got {type(error).__name__}: {error}. Name "
            "another output_dir, or remove the folder to begin anew."
        ) from error


def _note(step: int, folder: Path, *, kept: bool) -> str:
    text = f'the rows named "(update)" are W - W0, W0 the weights at step {step}, kept in {folder}'
    if kept or step == 0:
        return text
    return f"{text}. If this run continues one in another folder, name its start: baseline=.../alpha_hill/{FOLDER}"
